//! Partitioners: they choose the partition of records whose producers leave it open.

use crate::batch::Walk;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::record::Record;

/// A partitioner. `#[millrace_plugin::partitioner]` on the implementation makes it the plugin.
///
/// Equal records must always get equal numbers, also from another instance: hence `&self`.
pub trait Partitioner: Sized {
    /// Called once per instance. An error refuses the deployment.
    fn start(context: &Context) -> Result<Self>;

    /// A number below `partitions`. An error, or a number too high, goes to the producer as an error.
    fn partition(&self, record: &Record<'_>, partitions: u32) -> Result<u32>;
}

/// A started partitioner: what the guest's exports and the tests' harness drive.
#[derive(Debug)]
pub struct PartitionerInstance<T> {
    plugin: T,
}

impl<T: Partitioner> PartitionerInstance<T> {
    /// Starts the plugin.
    pub fn start(context: &Context) -> Result<Self> {
        Ok(Self { plugin: T::start(context)? })
    }

    /// A partition for each record of a packed batch.
    pub fn run(&self, batch: &[u8], partitions: u32) -> Result<Vec<u32>> {
        let mut walk = Walk::new(batch)?;
        // A record takes seven bytes at least, whatever the header says of their number.
        let mut chosen = Vec::with_capacity((walk.header.count as usize).min(batch.len() / 7));
        while let Some(record) = walk.next()? {
            let number = self
                .plugin
                .partition(&record, partitions)
                .map_err(|error| Error::new(format!("record {}: {error}", chosen.len())))?;
            if number >= partitions {
                let index = chosen.len();
                return Err(Error::new(format!(
                    "record {index}: partition {number} was chosen, but there are {partitions}"
                )));
            }
            chosen.push(number);
        }
        Ok(chosen)
    }
}

/// A hash of bytes that is the same everywhere and always (FNV-1a, 64 bits, with a final mix).
pub fn stable_hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    // FNV's low bits depend on few of the input's; the finaliser of MurmurHash3 spreads them.
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}
