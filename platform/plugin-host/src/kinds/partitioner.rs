//! Partitioners: records become partition numbers.

use std::sync::Arc;

use millrace_protocol::batch::Batch;

use super::{given, refused};
use crate::Deployment;
use crate::run::{Call, Failure, Instance};

/// A partitioner; one serves all partitions of its topic. Several may serve the same topic side by side.
pub struct Partitioner(Instance);

impl Partitioner {
    pub fn new(deployment: Arc<Deployment>) -> Self {
        Self(Instance::new(deployment, 0))
    }

    /// A number below `partitions` for each record of `batch`, in order. An answer with a wrong count or
    /// number is a [`Failure::Malformed`]: no record is ever misplaced.
    pub async fn partition(&mut self, batch: &Batch, partitions: u32) -> Call<Vec<u32>> {
        let (input, work) = match given(self.0.deployment(), batch) {
            Ok(given) => given,
            Err(failure) => return refused(failure),
        };
        let records = usize::try_from(batch.header.record_count).unwrap_or(0);
        let call = self.0.run(
            work,
            |live| {
                Box::pin(async move {
                    let export =
                        live.export.typed::<(&[u8], u32), (Result<Vec<u32>, String>,)>(&live.store)?;
                    Ok(export.call_async(&mut live.store, (&input, partitions)).await?.0)
                })
            },
            |returned, _| check(returned.map_err(Failure::Refused)?, records, partitions),
        );
        call.await
    }

    /// Whether it holds an instance.
    pub const fn is_live(&self) -> bool {
        self.0.is_live()
    }

    /// Gives back the instance; the next batch starts another.
    pub fn release(&mut self) {
        self.0.release();
    }
}

fn check(answer: Vec<u32>, records: usize, partitions: u32) -> Result<Vec<u32>, Failure> {
    if answer.len() != records {
        let what = format!("{} partition numbers for {records} records", answer.len());
        return Err(Failure::Malformed(what));
    }
    match answer.iter().position(|number| *number >= partitions) {
        None => Ok(answer),
        Some(index) => Err(Failure::Malformed(format!(
            "record {index} is given partition {}, and the topic has {partitions}",
            answer[index]
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_answer_is_an_error() {
        assert_eq!(check(vec![0, 2, 1], 3, 3).unwrap(), [0, 2, 1]);
        let refused = |answer, records, partitions| check(answer, records, partitions).unwrap_err();
        assert!(refused(vec![0, 3], 2, 3).to_string().contains("record 1 is given partition 3"));
        assert!(refused(vec![0], 2, 3).to_string().contains("1 partition numbers for 2 records"));
    }
}
