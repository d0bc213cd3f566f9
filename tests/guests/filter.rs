//! Transform: [`filter_logic::filter`], with the canonical ABI by hand.

#![allow(unsafe_code)]

use std::cell::RefCell;

mod filter_logic;

#[link(wasm_import_module = "millrace:plugin/output@0.1.0")]
unsafe extern "C" {
    fn emit(blocks: *const u8, len: usize);
}

thread_local! {
    static INPUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static BLOCK: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The answer: `ok`.
static OK: [u32; 3] = [0; 3];

/// All that is passed in is one batch at a time, so that one buffer serves every call.
#[unsafe(no_mangle)]
extern "C" fn cabi_realloc(_old: *mut u8, _old_len: usize, _align: usize, len: usize) -> *mut u8 {
    INPUT.with_borrow_mut(|input| {
        input.clear();
        input.reserve(len);
        input.as_mut_ptr()
    })
}

#[unsafe(no_mangle)]
extern "C" fn start(
    _: u32,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
) -> *const u32 {
    OK.as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn transform(batch: *const u8, len: usize) -> *const u32 {
    // SAFETY: the host passes a batch of `len` bytes that it has written to what `cabi_realloc` gave it.
    let batch = unsafe { std::slice::from_raw_parts(batch, len) };
    BLOCK.with_borrow_mut(|block| {
        filter_logic::filter(batch, block);
        if !block.is_empty() {
            // SAFETY: the block lives until `emit` returns.
            unsafe { emit(block.as_ptr(), block.len()) };
        }
    });
    OK.as_ptr()
}
