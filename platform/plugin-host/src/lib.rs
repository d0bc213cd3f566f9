//! Runs users' WebAssembly.
