//! Copying the bytes of records.
//!
//! In WebAssembly a copy of unknown length is an instruction that calls out of the guest, which costs more
//! than a short record's bytes do. So short copies are made here, in pieces as large as a register.

/// From this length on the call is worth it.
#[cfg(target_arch = "wasm32")]
const LONG: usize = 2048;

/// Appends `bytes` to `out`.
#[cfg(not(target_arch = "wasm32"))]
#[inline(always)]
pub(crate) fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}

/// Appends `bytes` to `out`.
#[cfg(target_arch = "wasm32")]
#[inline(always)]
pub(crate) fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = bytes.len();
    if len >= LONG {
        return out.extend_from_slice(bytes);
    }
    out.reserve(len);
    let end = out.len();
    // SAFETY: there is room for `len` bytes behind the vector's end, and nobody else can see it.
    #[allow(unsafe_code)]
    unsafe {
        copy(out.as_mut_ptr().add(end), bytes.as_ptr(), len);
        out.set_len(end + len);
    }
}

/// # Safety
/// `len` bytes at `from` can be read and `len` at `to` written, and the two do not overlap.
#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn copy(to: *mut u8, from: *const u8, len: usize) {
    type Piece = [u8; 16];
    // SAFETY: every piece ends at or before `len`.
    unsafe {
        let piece = |at: usize| to.add(at).cast::<Piece>().write(from.add(at).cast::<Piece>().read());
        if len >= 16 {
            let mut at = 0;
            // Four at a time: a loop's every turn is one at which the host may stop a guest, and asks.
            while at + 64 <= len {
                piece(at);
                piece(at + 16);
                piece(at + 32);
                piece(at + 48);
                at += 64;
            }
            while at + 16 <= len {
                piece(at);
                at += 16;
            }
            // The rest together with some of what is there already.
            piece(len - 16);
        } else if len >= 4 {
            type Short = [u8; 4];
            let piece = |at: usize| to.add(at).cast::<Short>().write(from.add(at).cast::<Short>().read());
            piece(0);
            if len > 8 {
                piece(4);
                piece(len - 8);
            }
            piece(len - 4);
        } else {
            for at in 0..len {
                to.add(at).write(from.add(at).read());
            }
        }
    }
}
