//! Records in transactions, and what the log has to know of them.

use millrace_log::PartitionLog;
use millrace_protocol::batch::TransactionResult;

use crate::dice::Dice;
use crate::model::{MARKER_VALUE, Model, Sent};

impl Sent {
    /// Makes it the end of a transaction.
    pub fn end_transaction(&mut self, dice: &mut Dice) {
        let results = [TransactionResult::Abort, TransactionResult::Commit];
        self.marker = Some(results[dice.below(2) as usize]);
        (self.values, self.sequence) = (vec![MARKER_VALUE.to_vec()], self.sequence - 1);
    }
}

pub fn producer_id(number: usize) -> i64 {
    100 + number as i64
}

/// What was aborted is known, and what is open bounds readers of committed records; as far as the log goes back.
pub fn check_transactions(model: &Model, log: &PartitionLog) {
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    let (mut expected, open) = model.transactions();
    expected.retain(|(first, _)| *first >= start);
    let found = log.aborted_transactions(start, end).unwrap();
    let found = found.iter().map(|aborted| (aborted.first_offset, aborted.last_offset));
    let found: Vec<_> = found.filter(|(first, _)| *first >= start).collect();
    assert_eq!(found, expected, "other transactions were aborted");
    match open {
        Some(first) if first < start => {}
        open => assert_eq!(log.last_stable_offset(), open.unwrap_or(end)),
    }
}
