//! API keys that Kafka does not use and Millrace reserves for its own requests.
//!
//! Kafka numbers its APIs from zero upward and is below 100; the reserved range is far enough away never to
//! meet it. The frames and headers are Kafka's (request header v2, response header v1). No API exists yet.

use std::ops::RangeInclusive;

/// Keys of Millrace's own APIs: plugins, partitioner calls.
pub const PRIVATE_API_KEYS: RangeInclusive<i16> = 15_000..=15_999;

/// Whether `api_key` belongs to Millrace and not to Kafka.
pub const fn is_private(api_key: i16) -> bool {
    api_key >= *PRIVATE_API_KEYS.start() && api_key <= *PRIVATE_API_KEYS.end()
}
