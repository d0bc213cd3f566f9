//! Time that only goes forward, as a parameter: what is measured or waited for is measured in it. It says nothing of the
//! day; for that there is [`crate::Clock`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Where moments come from. Clones are the same time.
#[derive(Clone, Debug, Default)]
pub struct Monotonic(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    /// How many nanoseconds have passed since a moment of no meaning.
    Manual { began: Instant, passed_ns: Arc<AtomicU64> },
}

impl Monotonic {
    /// The machine's.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// Time that stands still until it is told to go on.
    pub fn manual() -> Self {
        Self(Source::Manual { began: Instant::now(), passed_ns: Arc::default() })
    }

    pub fn now(&self) -> Instant {
        match &self.0 {
            Source::System => Instant::now(),
            Source::Manual { began, passed_ns } => {
                *began + Duration::from_nanos(passed_ns.load(Ordering::SeqCst))
            }
        }
    }

    /// How long ago `moment` was.
    pub fn since(&self, moment: Instant) -> Duration {
        self.now().saturating_duration_since(moment)
    }

    /// Has `by` pass. Of no effect on the machine's time.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual { passed_ns, .. } = &self.0 {
            passed_ns.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manual_time_passes_when_told_for_all_clones() {
        let time = Monotonic::manual();
        let (began, clone) = (time.now(), time.clone());
        assert_eq!(clone.now(), began);
        time.advance(Duration::from_micros(1_500));
        assert_eq!(clone.since(began), Duration::from_micros(1_500));
        assert_eq!(time.since(began + Duration::from_secs(1)), Duration::ZERO, "it is yet to come");
        assert!(Monotonic::system().now() <= Monotonic::system().now());
    }
}
