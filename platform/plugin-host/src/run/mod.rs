//! Running instances: what each carries with it, how its calls are bounded and measured, how they end.

mod instance;
mod meter;
mod outcome;
mod state;

pub(crate) use instance::{Instance, Work};
pub(crate) use outcome::Stop;
pub use outcome::{Call, Failure, Usage};
pub(crate) use state::State;
