//! What was measured: a row for each kind of packet, gathered over several passes.

use crate::model::Verdict;

/// What is known of one of the incumbent's paths, and what is aimed at.
#[derive(Clone, Copy, Default)]
pub(crate) struct Beside {
    pub(crate) incumbent: &'static str,
    pub(crate) budget: &'static str,
}

/// What a pass tells of a kind of packet.
pub(crate) struct Measured {
    /// Nanoseconds of single runs.
    pub(crate) singles: Vec<u64>,
    /// Nanoseconds per packet in a loop, where one can be made.
    pub(crate) best: Option<u64>,
    pub(crate) verdict: Verdict,
}

/// In order of appearance.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<(String, Measured, Beside)>,
}

impl Table {
    /// Adds to the row of that name: single runs are put together, and of loops the best counts.
    pub(crate) fn add(&mut self, name: &str, measured: Measured, beside: Beside) {
        let row = self.rows.iter_mut().find(|(known, ..)| known == name);
        let Some((_, before, _)) = row else {
            self.rows.push((name.to_owned(), measured, beside));
            return;
        };
        assert_eq!(before.verdict, measured.verdict, "{name}");
        before.singles.extend(measured.singles);
        before.best = before.best.min(measured.best);
    }

    pub(crate) fn print(mut self) {
        println!(
            "{:<60} {:>6} {:>6} {:>6} {:>7}  {:<9} {:<12} budget",
            "", "min", "p50", "p99", "loop", "verdict", "incumbent"
        );
        for (name, measured, beside) in &mut self.rows {
            let singles = &mut measured.singles;
            singles.sort_unstable();
            let at = |percent: usize| singles[(singles.len() - 1) * percent / 100];
            println!(
                "{name:<60} {:>6} {:>6} {:>6} {:>7}  {:<9} {:<12} {}",
                at(0),
                at(50),
                at(99),
                measured
                    .best
                    .map_or_else(|| "-".to_owned(), |best| best.to_string()),
                format!("{:?}", measured.verdict),
                beside.incumbent,
                beside.budget
            );
        }
    }
}
