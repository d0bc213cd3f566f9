//! Plugins as a broker would run them: a function that partitions, modules that are put together.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use millrace_protocol::batch::Batch;
use millrace_protocol::frame::RequestFrame;
use millrace_protocol::plugins::{
    Kind, ManageReply, ManageRequest, ModuleChunk, ModuleDigest, ModuleInfo, PartitionRecords, PluginError,
    UploadReply, from_json, json,
};
use millrace_protocol::private::PrivateApi;
use tokio::sync::Semaphore;

use super::requests::Answer;

/// What happens to the next question for partitions instead of its being answered.
pub enum Verdict {
    Refuse(PluginError),
    /// These partitions, whatever the records are.
    Say(Vec<u32>),
    Disconnect,
}

/// A record as it was asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub key: Option<String>,
    pub value: String,
    pub timestamp_ms: i64,
    pub headers: usize,
}

#[derive(Default)]
pub struct Plugins {
    /// The partition of a key among so many.
    pub partitioner: Option<fn(&str, u32) -> u32>,
    pub verdicts: VecDeque<Verdict>,
    /// Answers to questions wait until it has a permit.
    pub gate: Option<Arc<Semaphore>>,
    pub questions: Vec<Vec<Asked>>,
    /// Bytes of modules so far.
    pub modules: BTreeMap<ModuleDigest, Vec<u8>>,
    pub chunks: usize,
    /// At this chunk the broker loses what it has of the module.
    pub forget_at: Option<usize>,
    /// Does not know the private requests.
    pub absent: bool,
    pub managed: Vec<ManageRequest>,
    pub replies: VecDeque<Result<ManageReply, PluginError>>,
}

pub fn answer(plugins: &mut Plugins, api: PrivateApi, request: RequestFrame) -> Answer {
    if plugins.absent {
        return Answer::Disconnect;
    }
    let body = match api {
        PrivateApi::ManagePlugins => {
            plugins.managed.push(from_json(&request.body).unwrap());
            json(&plugins.replies.pop_front().unwrap())
        }
        PrivateApi::UploadModule => json(&upload(plugins, ModuleChunk::decode(request.body).unwrap())),
        PrivateApi::PartitionRecords => {
            match partition(plugins, &PartitionRecords::decode(request.body).unwrap()) {
                Some(answer) => PartitionRecords::encode_answer(&answer),
                None => return Answer::Disconnect,
            }
        }
    };
    let mut frame = BytesMut::new();
    frame.put_u32(5 + body.len() as u32);
    frame.put_i32(request.correlation_id);
    frame.put_u8(0);
    frame.put(body);
    match &plugins.gate {
        Some(gate) if api == PrivateApi::PartitionRecords => Answer::Gated(Arc::clone(gate), frame.freeze()),
        _ => Answer::Reply(frame.freeze()),
    }
}

fn upload(plugins: &mut Plugins, chunk: ModuleChunk) -> Result<UploadReply, PluginError> {
    plugins.chunks += 1;
    if plugins.forget_at == Some(plugins.chunks) {
        plugins.modules.clear();
    }
    let stored = plugins.modules.entry(chunk.module).or_default();
    if chunk.offset == stored.len() as u64 {
        stored.extend_from_slice(&chunk.bytes);
    }
    if (stored.len() as u64) < chunk.total {
        return Ok(UploadReply::Continue { offset: stored.len() as u64 });
    }
    if ModuleDigest::of(stored) != chunk.module {
        return Err(PluginError::invalid("the bytes are not the module's"));
    }
    Ok(UploadReply::Stored(module_info(chunk.module, chunk.total)))
}

pub fn module_info(digest: ModuleDigest, size_bytes: u64) -> ModuleInfo {
    ModuleInfo {
        digest,
        kind: Kind::Transform,
        contract: Some("0.1.0".into()),
        requests: Vec::new(),
        imports: Vec::new(),
        exports: Vec::new(),
        size_bytes,
        is_core_module: false,
    }
}

/// None ends the connection.
fn partition(plugins: &mut Plugins, question: &PartitionRecords) -> Option<Result<Vec<u32>, PluginError>> {
    let asked = records(std::slice::from_ref(&question.batch));
    let partitioner = plugins.partitioner;
    let keys: Vec<String> = asked.iter().map(|record| record.key.clone().unwrap_or_default()).collect();
    plugins.questions.push(asked);
    match plugins.verdicts.pop_front() {
        Some(Verdict::Refuse(error)) => Some(Err(error)),
        Some(Verdict::Say(partitions)) => Some(Ok(partitions)),
        Some(Verdict::Disconnect) => None,
        None => Some(match partitioner {
            Some(choose) => Ok(keys.iter().map(|key| choose(key, question.partitions)).collect()),
            None => Err(PluginError::not_found("topic 'events' has no partitioner")),
        }),
    }
}

/// What is in record batches.
pub fn records(batches: &[Bytes]) -> Vec<Asked> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut all = Vec::new();
    for bytes in batches {
        let batch = Batch::parse(bytes.clone()).unwrap();
        batch.verify().unwrap();
        let records = batch.records(1 << 30).unwrap();
        all.extend(records.iter().map(|record| {
            let record = record.unwrap();
            Asked {
                key: record.key.map(text),
                value: text(record.value.unwrap()),
                timestamp_ms: record.timestamp_ms,
                headers: record.headers.len(),
            }
        }));
    }
    all
}
