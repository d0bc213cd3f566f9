//! Latency percentiles: an HDR histogram in microseconds and the shape in which reports carry it.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Collects durations from 1 µs to a minute at three significant digits.
pub struct Latencies(Histogram<u64>);

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Percentiles {
    pub samples: u64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p99_9_ms: f64,
    pub max_ms: f64,
}

impl Latencies {
    pub fn new() -> Self {
        let minute_us = 60_000_000;
        Self(Histogram::new_with_bounds(1, minute_us, 3).expect("the bounds are valid constants"))
    }

    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1));
    }

    pub fn percentiles(&self) -> Percentiles {
        let at = |quantile: f64| ms(self.0.value_at_quantile(quantile));
        Percentiles {
            samples: self.0.len(),
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p99_9_ms: at(0.999),
            max_ms: ms(self.0.max()),
        }
    }
}

fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_in_milliseconds() {
        let mut latencies = Latencies::new();
        for ms in 1..=1000 {
            latencies.record(Duration::from_millis(ms));
        }
        let percentiles = latencies.percentiles();
        assert_eq!(percentiles.samples, 1000);
        assert!((percentiles.p50_ms - 500.0).abs() < 1.0, "{percentiles:?}");
        assert!((percentiles.p99_ms - 990.0).abs() < 1.0, "{percentiles:?}");
    }
}
