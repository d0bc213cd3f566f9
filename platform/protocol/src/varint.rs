//! Variable-length integers: base 128, least significant group first; signed ones zigzag-encoded.
