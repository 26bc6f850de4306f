//! What a process has cost so far.

use std::time::Duration;
use std::{fs, io};

/// Processor time and memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    /// Resident megabytes: now, and at most.
    pub(crate) resident: f64,
    pub(crate) peak: f64,
}

impl Usage {
    /// Of all threads of a process, from /proc (`proc_pid_stat(5)`; the clock tick is 10 ms on Linux).
    pub(crate) fn of(process: u32) -> io::Result<Self> {
        let process = format!("/proc/{process}");
        let stat = fs::read_to_string(format!("{process}/stat"))?;
        // Behind the name, which may hold anything: field 3 onwards; user and system time are 14 and 15.
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or("")
            .split_whitespace()
            .collect();
        let ticks: u64 = fields
            .iter()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        let status = fs::read_to_string(format!("{process}/status"))?;
        let megabytes = |name: &str| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap_or("");
            line.trim_start_matches(':')
                .trim_end_matches("kB")
                .trim()
                .parse::<f64>()
                .unwrap_or(0.0)
                / 1024.0
        };
        Ok(Self {
            cpu: Duration::from_millis(ticks * 10),
            resident: megabytes("VmRSS"),
            peak: megabytes("VmHWM"),
        })
    }
}
