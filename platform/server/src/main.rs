//! millrace.
fn main() {}
