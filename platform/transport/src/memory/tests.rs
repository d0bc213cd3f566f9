//! The three parts of the budget, and that frames which wait for each other end.

use futures::FutureExt;

use super::*;

const LEN: usize = 350 * KIB;

/// Room for one frame in common, 100 KiB for small ones, and the reserve.
fn memory() -> ReceiveMemory {
    let limits = TransportLimits {
        frame_bytes_max: LEN,
        receive_bytes_max: 800 * KIB,
        receive_pool_bytes: 0,
        ..TransportLimits::default()
    };
    ReceiveMemory::new(&limits, IntGauge::new("in_use", "bytes").unwrap())
}

fn fill(buffer: &mut ReceiveBuffer, needed: usize) {
    buffer.make_room(needed).unwrap();
    buffer.place(0, &vec![1; needed]);
}

#[test]
fn room_runs_ahead_of_what_has_arrived_and_no_further() {
    let memory = memory();
    let mut buffer = memory.buffer(LEN);
    assert_eq!(memory.in_use(), 0, "a length costs nothing");
    for arrived in [1, 1000, 10_000, 20_000, LEN] {
        buffer.make_room(arrived).unwrap();
        let most = LEN.min(arrived + FIRST_BYTES.max(AHEAD * arrived));
        assert!((arrived..=most).contains(&buffer.room()), "{} for {arrived}", buffer.room());
        assert_eq!(memory.in_use(), buffer.room() as i64);
    }
    drop(buffer);
    assert_eq!(memory.in_use(), 0);
}

#[test]
fn small_frames_have_room_that_large_ones_cannot_take() {
    let memory = memory();
    let mut large = memory.buffer(LEN);
    fill(&mut large, LEN);
    assert!(memory.buffer(LEN).make_room(1).is_err());
    let small: Vec<_> = std::iter::from_fn(|| memory.try_copy(&[7; 10 * KIB])).collect();
    assert_eq!(small.len(), 10);
    assert!(!memory.is_short(), "nobody waits");
}

#[test]
fn frames_that_wait_for_each_other_get_the_reserve_in_turn() {
    let memory = memory();
    let mut first = memory.buffer(LEN);
    let mut second = memory.buffer(LEN);
    fill(&mut first, 10 * KIB);
    fill(&mut second, 20 * KIB);
    let first_wants = first.make_room(LEN).unwrap_err();
    let second_wants = second.make_room(LEN).unwrap_err();
    let whole = memory.wait_for(first_wants).now_or_never().expect("the reserve");
    let mut waiting = Box::pin(memory.wait_for(second_wants));
    assert!((&mut waiting).now_or_never().is_none());
    assert!(memory.is_short());
    first.add(whole);
    assert_eq!(first.room(), LEN, "all that it can need");
    // What the first frame had before is enough for the second.
    second.add((&mut waiting).now_or_never().expect("the rest of the common room"));
    drop((first, second));
    assert!(!memory.is_short());
    assert_eq!(memory.in_use(), 0);
}

#[test]
fn the_reserve_has_room_for_several_frames_that_are_not_the_largest() {
    let memory = memory();
    let mut holder = memory.buffer(LEN);
    fill(&mut holder, LEN);
    let half = LEN / 2;
    let want = memory.buffer(half).make_room(half).unwrap_err();
    let [first, second] =
        [(); 2].map(|()| memory.wait_for(want).now_or_never().expect("a half of the reserve"));
    assert!(memory.wait_for(want).now_or_never().is_none());
    drop(first);
    assert!(memory.is_short(), "the other half is taken");
    drop(second);
    assert!(!memory.is_short());
}

#[test]
fn one_who_gives_up_waiting_leaves_everything() {
    let memory = memory();
    let mut holder = memory.buffer(LEN);
    fill(&mut holder, LEN);
    let want = memory.buffer(LEN).make_room(LEN).unwrap_err();
    let reserve = memory.wait_for(want).now_or_never().expect("the reserve");
    drop(holder);
    let common = memory.wait_for(want).now_or_never().expect("the common room");
    let mut waiting = Box::pin(memory.wait_for(want));
    assert!((&mut waiting).now_or_never().is_none());
    drop((waiting, reserve, common));
    assert_eq!(memory.in_use(), 0);
    assert!(!memory.is_short());
    assert!(memory.buffer(LEN).make_room(LEN).is_ok());
}

#[test]
fn buffers_hold_what_is_placed_and_read_into_them() {
    let memory = memory();
    let mut buffer = memory.buffer(10);
    buffer.make_room(10).unwrap();
    buffer.place(0, b"abc");
    buffer.rest(3)[..3].copy_from_slice(b"def");
    buffer.place(6, b"ghij");
    assert_eq!(buffer.as_ref(), b"abcdefghij");
    assert_eq!(memory.try_copy(b"whole").unwrap().as_ref(), b"whole");
    assert_eq!(memory.try_copy(b"").unwrap().as_ref(), b"");
}
