//! Which transactions of a partition are aborted, and which keep readers of committed records back. Pure.
//!
//! Aborted transactions are listed a segment, by where their markers are: in the [history](crate::history) of the
//! segment's end, little-endian: count u32, then each `producer id i64 | first offset i64 | offset of the marker i64`.

use std::collections::VecDeque;

use bytes::{Buf, BufMut};
use millrace_base::Offset;

/// A transaction that was aborted: its records are those of the producer between the offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aborted {
    pub producer_id: i64,
    pub first_offset: Offset,
    /// Of its marker.
    pub last_offset: Offset,
}

impl Aborted {
    /// Whether a reader of the offsets from `from` to below `up_to` meets it.
    pub(crate) const fn meets(&self, from: Offset, up_to: Offset) -> bool {
        self.last_offset >= from && self.first_offset < up_to
    }
}

/// A transaction whose marker was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub transaction: Aborted,
    /// Or it was committed, and `transaction` tells where it was.
    pub is_aborted: bool,
}

/// Transactions that end in one list: a marker each, so that a segment is full before it has more.
pub(crate) const ABORTED_MAX: usize = 1 << 16;

pub(crate) fn encode(aborted: &[Aborted], out: &mut Vec<u8>) {
    out.put_u32_le(u32::try_from(aborted.len()).expect("fewer than offsets in a segment"));
    for transaction in aborted {
        out.put_i64_le(transaction.producer_id);
        out.put_i64_le(transaction.first_offset);
        out.put_i64_le(transaction.last_offset);
    }
}

pub(crate) fn decode(from: &mut &[u8]) -> Result<Vec<Aborted>, bytes::TryGetError> {
    let mut aborted = Vec::new();
    for _ in 0..from.try_get_u32_le()? {
        aborted.push(Aborted {
            producer_id: from.try_get_i64_le()?,
            first_offset: from.try_get_i64_le()?,
            last_offset: from.try_get_i64_le()?,
        });
    }
    Ok(aborted)
}

/// Whether they are such as markers of a log that ends at `log_end` leave.
pub(crate) fn are_sound(aborted: &[Aborted], log_end: Offset) -> bool {
    let one =
        |of: &Aborted| 0 <= of.first_offset && of.first_offset < of.last_offset && of.last_offset < log_end;
    aborted.iter().all(one) && aborted.is_sorted_by(|one, next| one.last_offset < next.last_offset)
}

/// What keeps readers of committed records back: open transactions, and those whose markers are above the high
/// watermark and might still be taken back.
#[derive(Debug, Default)]
pub(crate) struct Unstable {
    first_open: Option<Offset>,
    /// First offset and marker, in the order of both: who began later and ended earlier than another holds nobody back.
    ended: VecDeque<(Offset, Offset)>,
}

/// No record is held back.
pub(crate) const ALL_STABLE: Offset = Offset::MAX;

impl Unstable {
    pub fn of(first_open: Option<Offset>) -> Self {
        Self { first_open, ended: VecDeque::new() }
    }

    /// After an append of a transaction's.
    pub fn appended(&mut self, first_open: Option<Offset>, ended: Option<Ended>) {
        self.first_open = first_open;
        if let Some(Ended { transaction, .. }) = ended {
            while self.ended.pop_back_if(|(first, _)| *first >= transaction.first_offset).is_some() {}
            self.ended.push_back((transaction.first_offset, transaction.last_offset));
        }
    }

    /// Everything below `high_watermark` stays.
    pub fn committed(&mut self, high_watermark: Offset) {
        while self.ended.pop_front_if(|(_, marker)| *marker < high_watermark).is_some() {}
    }

    /// The first offset that is held back.
    pub fn first(&self) -> Offset {
        let ended = self.ended.front().map(|(first, _)| *first);
        ended.into_iter().chain(self.first_open).min().unwrap_or(ALL_STABLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_or_ended_above_the_high_watermark_is_unstable() {
        let ended = |first_offset, last_offset| {
            let transaction = Aborted { producer_id: 1, first_offset, last_offset };
            Some(Ended { transaction, is_aborted: false })
        };
        let mut unstable = Unstable::default();
        assert_eq!(unstable.first(), ALL_STABLE);
        unstable.appended(Some(3), None);
        unstable.appended(Some(5), ended(3, 7));
        unstable.appended(None, ended(5, 9));
        assert_eq!(unstable.first(), 3);
        unstable.committed(7);
        assert_eq!(unstable.first(), 3, "the marker itself is at 7");
        unstable.committed(8);
        assert_eq!(unstable.first(), 5);
        unstable.committed(10);
        assert_eq!(unstable.first(), ALL_STABLE);
        // One that lies within another.
        unstable.appended(Some(11), ended(13, 15));
        unstable.appended(None, ended(11, 17));
        assert_eq!(unstable.first(), 11);
        unstable.committed(16);
        assert_eq!(unstable.first(), 11);
        unstable.committed(18);
        assert_eq!(unstable.first(), ALL_STABLE);
    }

    #[test]
    fn a_list_reads_back_and_is_checked() {
        let one = |first_offset, last_offset| Aborted { producer_id: 4, first_offset, last_offset };
        let aborted = [one(0, 3), one(5, 8)];
        let mut bytes = Vec::new();
        encode(&aborted, &mut bytes);
        assert_eq!(decode(&mut &bytes[..]).unwrap(), aborted);
        assert!(decode(&mut &bytes[..bytes.len() - 1]).is_err());
        assert!(are_sound(&aborted, 9) && !are_sound(&aborted, 8));
        assert!(!are_sound(&[one(5, 8), one(0, 3)], 9) && !are_sound(&[one(3, 3)], 9));
        assert!(one(2, 5).meets(5, 6) && one(2, 5).meets(0, 3));
        assert!(!one(2, 5).meets(6, 9) && !one(2, 5).meets(0, 2));
    }
}
