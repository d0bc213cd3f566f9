//! Record batches: cutting, checking, decompressing and walking whatever arrives, and headers that lie about
//! compressed records.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use millrace_protocol::batch::{
    Attributes, Batch, BatchBuilder, BatchError, BatchHeader, Demands, HEADER_LEN, MAGIC, ProducerState,
    split_batches, stamp_log_append_time,
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
    lie(data);
});

/// A batch that is right but for one lie, in its header or in its records before they are compressed: whatever is
/// taken of it is what a consumer reads.
fn lie(data: &[u8]) {
    let [codec, at, value, count, values @ ..] = data else { return };
    let codec = Codec::ALL[usize::from(*codec) % Codec::ALL.len()];
    let mut builder = BatchBuilder::default();
    for (index, value) in values.chunks(usize::from(*count) % 32 + 1).enumerate() {
        let key = (index % 3 > 0).then_some(value);
        builder.append(1000 + i64::from(*at) - index as i64, key, Some(value), &[]);
    }
    if builder.is_empty() {
        return;
    }
    let honest = builder.finish(Codec::None, ProducerState::NONE).expect("memory suffices");
    let mut records = honest[HEADER_LEN..].to_vec();
    let mut header = BatchHeader::parse(&honest).expect("a batch that was built");
    match at % 4 {
        0 => {
            header.record_count = header.record_count.wrapping_add(i32::from(*value as i8) << (*value % 25));
            header.last_offset_delta = header.record_count.wrapping_sub(1);
        }
        1 => header.max_timestamp = i64::from(*value),
        2 => {
            let at = usize::from(*count) * records.len() / 256;
            records[at] = *value;
        }
        _ => {}
    }
    let mut bytes = vec![0; HEADER_LEN];
    compress(codec, &records, &mut bytes).expect("memory suffices");
    header.attributes = Attributes(codec as i16);
    header.batch_length = bytes.len() as i32 - 12;
    header.write(&mut bytes);
    header.crc = millrace_protocol::crc::crc32c(&bytes[21..]);
    header.write(&mut bytes);
    let mut batch = Batch::parse(bytes.into()).expect("its lengths are right");
    let demands = Demands { max_expanded: EXPANDED_MAX, keys: true, timestamps: Some(0..=1 << 40) };
    let examined = batch.examine(&demands);
    let read = batch.records(EXPANDED_MAX).and_then(|records| {
        let mut times = Vec::new();
        for (offset, record) in (0..).zip(&records) {
            let record = record?;
            if record.offset != offset {
                return Err(BatchError::Invalid("a gap"));
            }
            times.push(record.timestamp_ms);
        }
        if times.len() as i64 != i64::from(header.record_count) {
            return Err(BatchError::Invalid("fewer than announced"));
        }
        Ok(times)
    });
    let Ok(examined) = examined else {
        assert!(read.is_err() || header.record_count <= 0, "what can be read is taken");
        return;
    };
    if header.record_count <= 0 {
        return;
    }
    let times = read.expect("what is taken can be read");
    assert_eq!(examined.max_timestamp, times.into_iter().max().unwrap_or(-1).max(-1));
    batch.header.correct_max_timestamp(examined.max_timestamp);
    for codec in Codec::ALL {
        let recoded = batch.recode(codec, None, examined.expanded_bytes, usize::MAX).expect("it was taken");
        recoded.verify_crc().expect("the checksum is right");
        assert_eq!(recoded.examine(&demands).as_ref(), Ok(&examined));
    }
}

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
