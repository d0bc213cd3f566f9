//! Receive memory: one budget over all connections, paid for as frames arrive, and buffers that are used again.
//!
//! A length that a peer announces costs nothing. A frame's buffer is one piece of memory from the beginning, so
//! that it is read in place, but only as much of it is touched as has been granted, and the grants run ahead of
//! what has arrived by a bounded distance. The budget has three parts, and their sum is what all frames hold:
//!
//! - *common*: for every frame, in the order of asking;
//! - *small*: an eighth, which frames above [`SMALL_FRAME_BYTES`] cannot take, so that they never keep everyone else
//!   waiting;
//! - *reserve*: room for the largest frame, which frames get as a whole or not at all. Frames that each hold a part of
//!   the common room and wait for more would wait for ever; one that gets the reserve gives back what it had, and ends.
//!
//! While somebody waits the memory [is short](ReceiveMemory::is_short), and frames that do not keep a quicker pace
//! than usual are given up (see [`pace`](crate::pace)).

mod pool;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millrace_base::limits::{KIB, MIB};
use prometheus::IntGauge;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::limits::TransportLimits;
use pool::{Pool, Storage};

/// Largest frame that may take from the share of small ones: requests without records, and small batches.
pub(crate) const SMALL_FRAME_BYTES: usize = 64 * KIB;
/// Room that a frame is granted when its first byte comes.
const FIRST_BYTES: usize = 4 * KIB;
/// Room beyond what has arrived: this many times as much, and never more than [`AHEAD_BYTES_MAX`].
const AHEAD: usize = 3;
const AHEAD_BYTES_MAX: usize = 4 * MIB;

/// The budget and the pool. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ReceiveMemory(Arc<Inner>);

struct Inner {
    common: Semaphore,
    small: Semaphore,
    reserve: Semaphore,
    reserve_bytes: usize,
    /// Frames that wait for room.
    waiting: AtomicUsize,
    in_use: IntGauge,
    pool: Arc<Pool>,
}

/// Room that a frame has. Given back when dropped.
pub(crate) struct Grant {
    common: usize,
    small: usize,
    /// The frame's whole length, when it has the reserve.
    reserve: usize,
    memory: Arc<Inner>,
}

/// Room that a frame waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Want {
    /// The frame's length.
    frame: usize,
    /// How much more than it has.
    bytes: usize,
}

/// The parts of the budget.
enum Share {
    Common,
    Small,
    Reserve,
}

/// A frame's memory, used again when dropped.
pub(crate) struct ReceiveBuffer {
    storage: Storage,
    len: usize,
    grant: Grant,
}

impl ReceiveMemory {
    /// `limits` are [valid](TransportLimits::validate).
    pub(crate) fn new(limits: &TransportLimits, in_use: IntGauge) -> Self {
        let small = limits.small_receive_bytes();
        let common = limits.receive_bytes_max - small - limits.frame_bytes_max;
        Self(Arc::new(Inner {
            common: Semaphore::new(common.min(Semaphore::MAX_PERMITS)),
            small: Semaphore::new(small.min(Semaphore::MAX_PERMITS)),
            reserve: Semaphore::new(limits.frame_bytes_max),
            reserve_bytes: limits.frame_bytes_max,
            waiting: AtomicUsize::new(0),
            in_use,
            pool: Arc::new(Pool::new(limits.receive_pool_bytes)),
        }))
    }

    /// A buffer that holds `bytes`, a whole frame, unless the budget is spent.
    pub(crate) fn try_copy(&self, bytes: &[u8]) -> Option<ReceiveBuffer> {
        let mut buffer = self.buffer(bytes.len());
        if !bytes.is_empty() {
            buffer.grant.add(self.try_take(Want { frame: bytes.len(), bytes: bytes.len() })?);
        }
        buffer.place(0, bytes);
        Some(buffer)
    }

    /// A buffer for a frame of `len` bytes, which has no room yet.
    pub(crate) fn buffer(&self, len: usize) -> ReceiveBuffer {
        ReceiveBuffer { storage: Storage::new(&self.0.pool), len, grant: Grant::none(&self.0) }
    }

    fn try_take(&self, want: Want) -> Option<Grant> {
        let room = permits(want.bytes);
        if let Ok(permit) = self.0.common.try_acquire_many(room) {
            return Some(self.granted(permit, Share::Common, want));
        }
        if !want.is_small() {
            return None;
        }
        let permit = self.0.small.try_acquire_many(room).ok()?;
        Some(self.granted(permit, Share::Small, want))
    }

    /// Room as soon as there is some, in any part of the budget that the frame may take.
    pub(crate) async fn wait_for(&self, want: Want) -> Grant {
        let _waiting = Waiting::count(&self.0);
        let room = permits(want.bytes);
        let (permit, share) = tokio::select! {
            biased;
            permit = self.0.common.acquire_many(room) => (permit, Share::Common),
            permit = self.0.small.acquire_many(room), if want.is_small() => (permit, Share::Small),
            permit = self.0.reserve.acquire_many(permits(want.frame)) => (permit, Share::Reserve),
        };
        self.granted(permit.expect("the parts of the budget are never closed"), share, want)
    }

    fn granted(&self, permit: SemaphorePermit<'_>, share: Share, want: Want) -> Grant {
        permit.forget();
        let mut grant = Grant::none(&self.0);
        match share {
            Share::Common => grant.common = want.bytes,
            Share::Small => grant.small = want.bytes,
            Share::Reserve => grant.reserve = want.frame,
        }
        self.0.in_use.add(grant.bytes() as i64);
        grant
    }

    /// Whether somebody waits, or would if it were not for the reserve.
    pub(crate) fn is_short(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed) > 0
            || self.0.reserve.available_permits() < self.0.reserve_bytes
    }

    #[cfg(test)]
    pub(crate) fn in_use(&self) -> i64 {
        self.0.in_use.get()
    }
}

impl Want {
    const fn is_small(self) -> bool {
        self.frame <= SMALL_FRAME_BYTES
    }
}

impl ReceiveBuffer {
    pub(crate) const fn frame_len(&self) -> usize {
        self.len
    }

    /// How far it may be written to.
    pub(crate) const fn room(&self) -> usize {
        self.grant.bytes()
    }

    /// Has room for the first `needed` bytes, and for some more where there is any. Else what is to be waited for.
    pub(crate) fn make_room(&mut self, needed: usize) -> Result<(), Want> {
        let ahead = (AHEAD * needed).clamp(FIRST_BYTES, AHEAD_BYTES_MAX);
        let soon = self.len.min(needed + ahead / 4);
        if self.room() >= soon {
            return Ok(());
        }
        let memory = ReceiveMemory(Arc::clone(&self.grant.memory));
        for goal in [self.len.min(needed + ahead), soon] {
            if let Some(grant) = memory.try_take(Want { frame: self.len, bytes: goal - self.room() }) {
                self.grant.add(grant);
                return Ok(());
            }
        }
        if self.room() >= needed { Ok(()) } else { Err(Want { frame: self.len, bytes: soon - self.room() }) }
    }

    pub(crate) fn add(&mut self, grant: Grant) {
        self.grant.add(grant);
    }

    /// Writes `bytes` behind the first `filled`, within the room there is.
    pub(crate) fn place(&mut self, filled: usize, bytes: &[u8]) {
        debug_assert!(filled + bytes.len() <= self.room(), "room is made before");
        self.storage.place(self.len, filled, bytes, self.grant.bytes());
    }

    /// The room behind the first `filled` bytes.
    pub(crate) fn rest(&mut self, filled: usize) -> &mut [u8] {
        let room = self.room();
        &mut self.storage.touch(self.len, room)[filled..]
    }
}

impl AsRef<[u8]> for ReceiveBuffer {
    /// The frame, once all of it is written.
    fn as_ref(&self) -> &[u8] {
        self.storage.written(self.len)
    }
}

impl Grant {
    fn none(memory: &Arc<Inner>) -> Self {
        Self { common: 0, small: 0, reserve: 0, memory: Arc::clone(memory) }
    }

    const fn bytes(&self) -> usize {
        self.common + self.small + self.reserve
    }

    /// Takes `more` in. The reserve is room for all of the frame, so what it had goes back.
    fn add(&mut self, mut more: Self) {
        if more.reserve > 0 {
            *self = more;
        } else {
            self.common += std::mem::take(&mut more.common);
            self.small += std::mem::take(&mut more.small);
        }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.memory.in_use.sub(self.bytes() as i64);
        self.memory.common.add_permits(self.common);
        self.memory.small.add_permits(self.small);
        self.memory.reserve.add_permits(self.reserve);
    }
}

/// Counts one who waits, also through cancellation.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn count(memory: &'a Inner) -> Self {
        memory.waiting.fetch_add(1, Ordering::Relaxed);
        Self(&memory.waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Frames are below 2 GiB (`TransportLimits::validate`).
fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
