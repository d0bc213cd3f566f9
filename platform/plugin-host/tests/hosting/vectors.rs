//! The contract's test vectors: the host reads a guest's output as they say.

use std::fs;
use std::path::{Path, PathBuf};

use millrace_plugin_host::packing::{Collector, OutputLimits};
use millrace_protocol::batch::{Batch, BatchHeader};
use serde_json::Value;

const LIMITS: OutputLimits =
    OutputLimits { outputs: 3, bytes: 1 << 20, records: 10_000, block_bytes: 1 << 20 };

/// The vectors' files whose names begin with `prefix`.
fn vectors(prefix: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk/wit/vectors");
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let ours = |path: &PathBuf| {
        path.extension().is_some_and(|ext| ext == "bin")
            && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
    };
    let found: Vec<_> = files.filter(ours).collect();
    assert!(!found.is_empty(), "there are vectors");
    found
}

fn meaning(bin: &Path) -> Value {
    serde_json::from_slice(&fs::read(bin.with_extension("json")).unwrap()).unwrap()
}

/// Whether `bytes` are what the vector writes as text; what is not text there is not compared.
fn is_same(bytes: Option<&[u8]>, written: &Value) -> bool {
    match written {
        Value::Null => bytes.is_none(),
        Value::String(text) => bytes == Some(text.as_bytes()),
        _ => bytes.is_some(),
    }
}

#[test]
fn every_output_of_the_vectors_becomes_what_it_means() {
    for bin in vectors("out-") {
        let mut collector = Collector::default();
        collector.take(&fs::read(&bin).unwrap(), &LIMITS).unwrap_or_else(|error| panic!("{bin:?}: {error}"));
        let batches = collector.into_batches();
        let meaning = meaning(&bin);
        for (index, wanted) in meaning["outputs"].as_array().unwrap().iter().enumerate() {
            let mut wanted = wanted.as_array().unwrap().iter();
            for output in batches.iter().filter(|output| output.output as usize == index) {
                output.batch.verify().unwrap();
                for record in &output.batch.records(usize::MAX).unwrap() {
                    let (record, wanted) = (record.unwrap(), wanted.next().expect("no more records"));
                    assert_eq!(record.timestamp_ms, wanted["timestamp"].as_i64().unwrap(), "{bin:?}");
                    assert!(is_same(record.key, &wanted["key"]), "{bin:?}: {record:?} is not {wanted}");
                    assert!(is_same(record.value, &wanted["value"]), "{bin:?}: {record:?} is not {wanted}");
                    assert_eq!(record.headers.len(), wanted["headers"].as_array().unwrap().len());
                }
            }
            assert_eq!(wanted.next(), None, "{bin:?}: a record is missing");
        }
    }
}

#[test]
fn every_batch_of_the_vectors_is_one_that_this_platform_reads() {
    for bin in vectors("batch-") {
        let bytes = fs::read(&bin).unwrap();
        let header = BatchHeader::parse(&bytes).unwrap();
        let batch = Batch { header, bytes: bytes.into() };
        let meaning = meaning(&bin);
        let mut wanted = meaning["records"].as_array().unwrap().iter();
        for record in &batch.records(usize::MAX).unwrap() {
            let (record, wanted) = (record.unwrap(), wanted.next().expect("no more records"));
            assert_eq!(record.offset, wanted["offset"].as_i64().unwrap(), "{bin:?}");
            assert_eq!(record.timestamp_ms, wanted["timestamp"].as_i64().unwrap(), "{bin:?}");
            assert!(is_same(record.value, &wanted["value"]), "{bin:?}: {record:?} is not {wanted}");
        }
        assert_eq!(wanted.next(), None, "{bin:?}: a record is missing");
    }
}
