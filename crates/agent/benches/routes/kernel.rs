//! How many routes the kernel of a process' network namespace has.

use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

/// Between two looks at the least. Counting walks the whole table: it may take a tenth of the time.
const PAUSE: Duration = Duration::from_millis(5);
const SHARE: u32 = 9;

pub(crate) struct Kernel {
    statistics: PathBuf,
}

impl Kernel {
    pub(crate) fn of(process: u32) -> Self {
        Self {
            statistics: PathBuf::from(format!("/proc/{process}/net/fib_triestat")),
        }
    }

    /// Prefixes of IPv4 in all tables (`fib_triestat` of `net/ipv4/fib_trie.c`), which asks no lock of those who write.
    pub(crate) fn routes(&self) -> io::Result<u32> {
        let text = fs::read_to_string(&self.statistics)?;
        let counts = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Prefixes:"));
        Ok(counts
            .filter_map(|count| count.trim().parse::<u32>().ok())
            .sum())
    }

    /// Waits until there are so many, or until `limit`. When that was, and how many there were.
    pub(crate) fn until(&self, wanted: u32, limit: Instant) -> io::Result<(Instant, u32)> {
        loop {
            let begin = Instant::now();
            let routes = self.routes()?;
            if routes >= wanted || begin > limit {
                return Ok((begin, routes));
            }
            thread::sleep(PAUSE.max(begin.elapsed() * SHARE));
        }
    }
}
