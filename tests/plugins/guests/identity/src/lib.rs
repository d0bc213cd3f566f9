//! Sends every record on as it came.

use millrace_plugin::{Outputs, Record, transform};

#[transform]
fn identity(record: &Record<'_>, out: &mut Outputs) {
    out.forward(record);
}
