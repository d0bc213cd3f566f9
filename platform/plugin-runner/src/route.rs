//! Where a transform's output goes within its topic.
//!
//! A record with a key goes to its key's partition, by the hash that all Kafka clients use. Records without
//! one go to the partition with the number of the input's (modulo their topic's count), so that their order
//! stays. A batch whose records all go to one place, which is the rule for filters, is passed on as it is.

use millrace_protocol::batch::{Batch, BatchBuilder, BatchError, Header, ProducerState};
use millrace_protocol::compression::Codec;
use millrace_protocol::key_hash::partition_of_key;

/// What an uncompressed batch is read with; its own length bounds it.
const UNBOUNDED: usize = usize::MAX;

/// `batch`, uncompressed, as batches for partitions of a topic that has `partitions`.
pub(crate) fn route(
    batch: Batch,
    partitions: i32,
    input_partition: i32,
) -> Result<Vec<(i32, Batch)>, BatchError> {
    if partitions <= 1 {
        return Ok(vec![(0, batch)]);
    }
    let place = |key: Option<&[u8]>| match key {
        Some(key) => partition_of_key(key, partitions as usize) as i32,
        None => input_partition % partitions,
    };
    let records = batch.records(UNBOUNDED)?;
    let mut places = Vec::with_capacity(usize::try_from(batch.header.record_count).unwrap_or(0));
    for record in &records {
        places.push(place(record?.key));
    }
    let Some(first) = places.first().copied() else { return Ok(Vec::new()) };
    if places.iter().all(|place| *place == first) {
        return Ok(vec![(first, batch)]);
    }
    let mut builders: Vec<Option<BatchBuilder>> = Vec::new();
    builders.resize_with(partitions as usize, || None);
    let mut headers: Vec<Header<'_>> = Vec::new();
    for (record, place) in records.iter().zip(&places) {
        let record = record?;
        headers.clear();
        headers.extend(record.headers.iter());
        let builder = builders[*place as usize].get_or_insert_with(BatchBuilder::default);
        builder.append(record.timestamp_ms, record.key, record.value, &headers);
    }
    let mut routed = Vec::new();
    for (place, builder) in (0..).zip(builders) {
        if let Some(builder) = builder {
            routed.push((place, finish(builder)?));
        }
    }
    Ok(routed)
}

/// The builder's batch, uncompressed.
pub(crate) fn finish(builder: BatchBuilder) -> Result<Batch, BatchError> {
    let bytes = builder.finish(Codec::None, ProducerState::NONE);
    Batch::parse(bytes.map_err(|_| BatchError::Invalid("it is over 2 GiB"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(keys: &[Option<&str>]) -> Batch {
        let mut builder = BatchBuilder::default();
        for (index, key) in keys.iter().enumerate() {
            let headers = [Header::new("n", Some(b"v"))];
            let value = index.to_string();
            builder.append(index as i64, key.map(str::as_bytes), Some(value.as_bytes()), &headers);
        }
        finish(builder).unwrap()
    }

    fn values(batch: &Batch) -> Vec<String> {
        let records = batch.records(1 << 20).unwrap();
        let values = records.iter().map(|record| {
            let record = record.unwrap();
            assert_eq!(record.headers.len(), 1);
            String::from_utf8(record.value.unwrap().to_vec()).unwrap()
        });
        values.collect()
    }

    #[test]
    fn records_go_to_their_keys_partitions_in_order() {
        let keys: Vec<String> = (0..40).map(|index| format!("key-{}", index % 7)).collect();
        let keys: Vec<Option<&str>> = keys.iter().map(|key| Some(key.as_str())).collect();
        let routed = route(batch(&keys), 5, 3).unwrap();
        let mut seen = 0;
        for (place, part) in &routed {
            let values = values(part);
            let expected: Vec<String> = (0..40)
                .filter(|index: &usize| {
                    partition_of_key(keys[*index].unwrap().as_bytes(), 5) as i32 == *place
                })
                .map(|index| index.to_string())
                .collect();
            assert_eq!(values, expected);
            seen += values.len();
        }
        assert_eq!(seen, 40);
    }

    #[test]
    fn records_without_key_stay_together_and_a_batch_for_one_place_is_untouched() {
        let keyless = batch(&[None, None, None]);
        let routed = route(keyless.clone(), 4, 6).unwrap();
        assert_eq!(routed.len(), 1);
        assert_eq!(routed[0].0, 2);
        assert_eq!(routed[0].1.bytes.as_ptr(), keyless.bytes.as_ptr());
        assert_eq!(route(keyless, 1, 6).unwrap()[0].0, 0);
    }
}
