//! Where each leader's epoch begins (KIP-101): what followers and consumers compare logs by. Pure.
//!
//! As in Kafka an epoch begins at the end of the log when its leader takes over, records or not, and takes the
//! place of one that has left none. So a crash may forget an epoch without records: the next one begins at the
//! same offset, and whoever asks for the forgotten one is given the epoch before it and that offset, as if it
//! had been remembered. One with records is told by them.
//!
//! As stored in a checkpoint, little-endian: count u32, then each `epoch i32 | start offset i64`.

use bytes::{Buf, BufMut};
use millrace_base::{LeaderEpoch, Offset};

/// Epochs with the offset at which they begin, both growing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Epochs(Vec<(LeaderEpoch, Offset)>);

impl Epochs {
    /// Notes that `epoch` has begun, or a batch of it, with the log ending at `offset`. Epochs that have no record below
    /// that give way, later ones, too: a leader whose epoch left none may be followed by one that has never heard of it
    /// and brings records of an earlier one. True: something has changed.
    pub fn record(&mut self, epoch: LeaderEpoch, offset: Offset) -> bool {
        let goes_on =
            |(latest, start): &(LeaderEpoch, Offset)| *latest == epoch || *latest > epoch && *start < offset;
        if self.0.last().is_some_and(goes_on) {
            return false;
        }
        while self.0.pop_if(|(_, start)| *start >= offset).is_some() {}
        if !self.0.last().is_some_and(goes_on) {
            self.0.push((epoch, offset));
        }
        true
    }

    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.0.last().map(|(epoch, _)| *epoch)
    }

    /// The epoch of the record at `offset`. `None`: it is from before all that are known.
    pub fn at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.0.partition_point(|(_, start)| *start <= offset);
        after.checked_sub(1).map(|index| self.0[index].0)
    }

    /// The largest known epoch at or below `epoch`, and the offset at which the next one begins or the log
    /// ends. An epoch below all that are known ends where the first of them begins. `None`: `epoch` is newer
    /// than all, or none, or none is known.
    pub fn end_offset(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        if epoch == LeaderEpoch::UNKNOWN {
            return None;
        }
        if epoch == self.latest()? {
            return Some((epoch, log_end));
        }
        let next = self.0.partition_point(|(known, _)| *known <= epoch);
        let (_, end) = *self.0.get(next)?;
        let floor = next.checked_sub(1).map_or(epoch, |index| self.0[index].0);
        Some((floor, end))
    }

    /// Forgets what is below the log start.
    pub fn trim_start(&mut self, log_start: Offset) {
        let keep_from = self.0.partition_point(|(_, start)| *start <= log_start).saturating_sub(1);
        self.0.drain(..keep_from);
        if let Some((_, start)) = self.0.first_mut() {
            *start = (*start).max(log_start);
        }
    }

    /// Forgets those that begin at `log_end` or above: their records are taken back.
    pub fn trim_end(&mut self, log_end: Offset) {
        self.0.truncate(self.0.partition_point(|(_, start)| *start < log_end));
    }

    /// These from offset `from` on, and `below` before.
    pub fn over(&self, below: &Self, from: Offset) -> Self {
        let mut epochs = below.clone();
        epochs.trim_end(from);
        for (epoch, start) in self.0.iter().filter(|(_, start)| *start >= from) {
            epochs.record(*epoch, *start);
        }
        epochs
    }

    /// Whether they are such as [`Self::record`] makes of a log that ends at `log_end`.
    pub fn are_sound(&self, log_end: Offset) -> bool {
        self.0.is_sorted_by(|(epoch, start), (next_epoch, next_start)| {
            epoch < next_epoch && start <= next_start
        }) && self.0.iter().all(|(_, start)| (0..=log_end).contains(start))
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32_le(u32::try_from(self.0.len()).expect("epochs are 32 bits and grow"));
        for (epoch, start) in &self.0 {
            out.put_i32_le(epoch.0);
            out.put_i64_le(*start);
        }
    }

    pub fn decode(from: &mut &[u8]) -> Result<Self, bytes::TryGetError> {
        let mut epochs = Vec::new();
        for _ in 0..from.try_get_u32_le()? {
            epochs.push((LeaderEpoch(from.try_get_i32_le()?), from.try_get_i64_le()?));
        }
        Ok(Self(epochs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(of: &[(i32, i64)]) -> Epochs {
        let mut epochs = Epochs::default();
        for (epoch, start) in of {
            epochs.record(LeaderEpoch(*epoch), *start);
        }
        epochs
    }

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let epochs = epochs(&[(1, 0), (1, 5), (3, 10), (4, 20)]);
        for (asked, expected) in [
            (-1, None),
            (0, Some((0, 0))),
            (1, Some((1, 10))),
            (2, Some((1, 10))),
            (3, Some((3, 20))),
            (4, Some((4, 33))),
            (5, None),
        ] {
            let answer = epochs.end_offset(LeaderEpoch(asked), 33).map(|(epoch, end)| (epoch.0, end));
            assert_eq!(answer, expected, "epoch {asked}");
        }
        assert_eq!(Epochs::default().end_offset(LeaderEpoch(0), 33), None);
    }

    #[test]
    fn an_epoch_takes_the_place_of_one_without_records() {
        let epochs = epochs(&[(1, 0), (2, 5), (3, 5)]);
        assert_eq!(epochs, Epochs(vec![(LeaderEpoch(1), 0), (LeaderEpoch(3), 5)]));
        assert_eq!(epochs.end_offset(LeaderEpoch(2), 5), Some((LeaderEpoch(1), 5)));
        assert_eq!(epochs.end_offset(LeaderEpoch(3), 5), Some((LeaderEpoch(3), 5)));
    }

    #[test]
    fn an_epoch_without_records_gives_way_to_records_of_an_earlier_one() {
        for (before, expected) in [
            (&[(2, 0)][..], &[(1, 0)][..]),
            (&[(1, 0), (2, 0)], &[(1, 0)]),
            (&[(0, 0), (2, 5)], &[(0, 0), (1, 5)]),
        ] {
            let offset = before.last().unwrap().1;
            let mut epochs = epochs(before);
            assert!(epochs.record(LeaderEpoch(1), offset));
            let expected = expected.iter().map(|(epoch, start)| (LeaderEpoch(*epoch), *start)).collect();
            assert_eq!(epochs, Epochs(expected), "{before:?}");
        }
        let mut epochs = epochs(&[(1, 0), (3, 5)]);
        assert!(!epochs.record(LeaderEpoch(1), 6), "there is a record of epoch 3");
        assert!(!epochs.record(LeaderEpoch(3), 5), "its own");
    }

    #[test]
    fn a_record_is_of_the_epoch_that_began_at_or_before_it() {
        let epochs = epochs(&[(1, 5), (3, 10)]);
        let at = |offset| epochs.at(offset).map(|epoch| epoch.0);
        assert_eq!([4, 5, 9, 10, 99].map(at), [None, Some(1), Some(1), Some(3), Some(3)]);
    }

    #[test]
    fn trimming_keeps_the_epoch_that_the_log_starts_in() {
        let mut epochs = epochs(&[(1, 0), (3, 10), (4, 20)]);
        epochs.trim_start(15);
        assert_eq!(epochs, Epochs(vec![(LeaderEpoch(3), 15), (LeaderEpoch(4), 20)]));
    }

    #[test]
    fn truncation_forgets_the_epochs_that_begin_behind_it() {
        let mut epochs = epochs(&[(1, 0), (3, 10), (4, 20)]);
        epochs.trim_end(11);
        assert_eq!(epochs, Epochs(vec![(LeaderEpoch(1), 0), (LeaderEpoch(3), 10)]));
        epochs.trim_end(10);
        assert_eq!(epochs, Epochs(vec![(LeaderEpoch(1), 0)]));
    }

    #[test]
    fn what_was_encoded_decodes_to_the_same() {
        let epochs = epochs(&[(1, 0), (3, 10)]);
        let mut bytes = Vec::new();
        epochs.encode(&mut bytes);
        assert_eq!(Epochs::decode(&mut bytes.as_slice()).unwrap(), epochs);
        assert!(Epochs::decode(&mut &bytes[..bytes.len() - 1]).is_err());
    }
}
