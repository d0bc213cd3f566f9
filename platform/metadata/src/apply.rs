//! The state machine.
use crate::{Command, Image, Outcome, Rejection};

/// Applies.
pub fn apply(_image: &mut Image, _index: u64, _command: &Command) -> Result<Outcome, Rejection> {
    unimplemented!()
}
