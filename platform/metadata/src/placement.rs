//! Which brokers hold a new partition: Kafka's rack-aware round robin.

use crate::command::PartitionAssignment;
use crate::image::Image;

/// Replicas that cannot be placed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    #[error("replication factor {factor} is refused: at least 1 is needed")]
    InvalidFactor { factor: i16 },
    #[error("replication factor {factor} needs {factor} brokers, {brokers} are registered")]
    TooFewBrokers { factor: i16, brokers: usize },
}

/// Assigns partitions.
pub fn place(
    _image: &Image,
    _first_partition: i32,
    _count: i32,
    _replication_factor: i16,
    _seed: u64,
) -> Result<Vec<PartitionAssignment>, PlacementError> {
    unimplemented!()
}
