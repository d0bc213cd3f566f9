//! Keeps the records whose value begins with an even byte, as `tests/guests/filter_logic.rs` does by hand.

use millrace_plugin::{Outputs, Record, transform};

#[transform]
fn even(record: &Record<'_>, out: &mut Outputs) {
    if record.value().and_then(<[u8]>::first).is_some_and(|first| first % 2 == 0) {
        out.forward(record);
    }
}
