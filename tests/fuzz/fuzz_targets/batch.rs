//! Record batches: cutting, checking, decompressing and walking whatever arrives.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use millrace_protocol::batch::{
    Attributes, Batch, BatchHeader, HEADER_LEN, MAGIC, split_batches, stamp_log_append_time,
};
use millrace_protocol::compression::{Codec, compress, decompress};

/// What decompression may yield here.
const EXPANDED_MAX: usize = 64 * 1024;

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(batches) = split_batches(bytes.clone(), EXPANDED_MAX) {
        assert_eq!(batches.iter().map(|batch| batch.bytes.len()).sum::<usize>(), data.len());
        for batch in &batches {
            let _ = batch.verify();
            walk(batch);
        }
    }

    // The same bytes as the records of a batch whose header is right.
    let [codec, record_count, records @ ..] = data else { return };
    for codec in [Codec::None, Codec::ALL[usize::from(*codec) % Codec::ALL.len()]] {
        if let Ok(expanded) = decompress(codec, &bytes.slice(2..), EXPANDED_MAX) {
            assert!(codec == Codec::None || expanded.len() <= EXPANDED_MAX);
        }
        walk(&batch(codec, i32::from(*record_count), records));
        // Compressed first, so that the walk sees through the codec.
        let mut compressed = Vec::new();
        compress(codec, records, &mut compressed).expect("memory suffices");
        assert_eq!(decompress(codec, &compressed.clone().into(), records.len()).as_deref(), Ok(records));
        walk(&batch(codec, i32::from(*record_count), &compressed));
    }
});

/// A batch with a header that fits, and a checksum that is right after a change of the header.
fn batch(codec: Codec, record_count: i32, records: &[u8]) -> Batch {
    let mut bytes = vec![0; HEADER_LEN];
    bytes.extend_from_slice(records);
    let mut header = BatchHeader {
        base_offset: 0,
        batch_length: bytes.len() as i32 - 12,
        partition_leader_epoch: 0,
        magic: MAGIC,
        crc: 0,
        attributes: Attributes(codec as i16),
        last_offset_delta: record_count - 1,
        base_timestamp: 0,
        max_timestamp: 0,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        record_count,
    };
    header.write(&mut bytes);
    header.crc = millrace_protocol::crc::crc32c(&bytes[21..]);
    header.write(&mut bytes);
    let len = bytes.len();
    stamp_log_append_time(&mut bytes[..HEADER_LEN], len, 17);
    let batch = Batch::parse(bytes.into()).expect("the header is right");
    batch.verify_crc().expect("the checksum is right");
    batch
}

fn walk(batch: &Batch) {
    let _ = batch.validate_records(EXPANDED_MAX);
    let Ok(records) = batch.records(EXPANDED_MAX) else { return };
    for record in records.iter().flatten() {
        assert_eq!(record.headers.iter().count(), record.headers.len());
        for part in [record.key, record.value].into_iter().flatten() {
            assert_eq!(records.share(part), part);
        }
    }
}
