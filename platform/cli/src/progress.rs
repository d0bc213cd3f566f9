//! A line on the terminal that shows long work going on; nothing where standard error is no terminal.

use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;

/// Counts records and bytes.
pub struct Progress {
    bar: ProgressBar,
    what: &'static str,
    totals: Mutex<(u64, u64)>,
}

impl Progress {
    pub fn start(shown: bool, what: &'static str) -> Self {
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]") {
            bar.set_style(style);
        }
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Self { bar, what, totals: Mutex::default() }
    }

    pub fn advance(&self, records: u64, bytes: u64) {
        if self.bar.is_hidden() {
            return;
        }
        let mut totals = self.totals.lock();
        totals.0 += records;
        totals.1 += bytes;
        let rate = totals.1 as f64 / self.bar.elapsed().as_secs_f64().max(0.001);
        self.bar.set_message(format!(
            "{} {}, {} ({}/s)",
            HumanCount(totals.0),
            self.what,
            HumanBytes(totals.1),
            HumanBytes(rate as u64)
        ));
    }

    /// Takes the line away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
