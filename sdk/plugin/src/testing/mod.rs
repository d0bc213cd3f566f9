//! Running a plugin natively, without a host.
//!
//! ```
//! use millrace_plugin::testing::{Input, Setup};
//! use millrace_plugin::{Outputs, Record, transform};
//!
//! #[transform]
//! fn errors_only(record: &Record<'_>, out: &mut Outputs) {
//!     if record.value_str().is_some_and(|text| text.contains("ERROR")) {
//!         out.forward(record);
//!     }
//! }
//!
//! let mut plugin = Setup::new().output("errors").transform::<errors_only>().unwrap();
//! let sent = plugin.run(&[Input::value("all well"), Input::value("ERROR: disk full")]).unwrap();
//! assert_eq!(sent.values("errors"), ["ERROR: disk full"]);
//! ```
//!
//! What a plugin asks of its host is answered by [`host`], which a test arranges beforehand and looks at
//! afterwards. Each test's thread has its own.

pub mod host;
mod packing;

use std::rc::Rc;

pub use packing::{Input, Sent, SentRecord, pack, unpack};

use crate::context::Context;
use crate::error::{DeliveryError, Result};
use crate::partitioner::{Partitioner, PartitionerInstance};
use crate::sink::{Sink, SinkInstance};
use crate::transform::{Transform, TransformInstance};

/// A deployment in a test.
#[derive(Clone, Debug)]
pub struct Setup {
    context: Context,
    outputs: Vec<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

impl Setup {
    /// Partition 0 of the topic `input`, without outputs and settings.
    pub fn new() -> Self {
        let context = Context {
            deployment: "test".to_owned(),
            version: 1,
            topic: "input".to_owned(),
            block_bytes_max: 1 << 20,
            ..Context::default()
        };
        Self { context, outputs: Vec::new() }
    }

    /// With one more output topic.
    #[must_use]
    pub fn output(mut self, topic: &str) -> Self {
        self.outputs.push(topic.to_owned());
        self
    }

    /// With this setting.
    #[must_use]
    pub fn config(mut self, key: &str, value: &str) -> Self {
        self.context.config.insert(key.to_owned(), value.to_owned());
        self
    }

    /// With this input topic and partition.
    #[must_use]
    pub fn input(mut self, topic: &str, partition: u32) -> Self {
        topic.clone_into(&mut self.context.topic);
        self.context.partition = partition;
        self
    }

    /// With this as the most bytes that an output block's records may have.
    #[must_use]
    pub const fn block_bytes_max(mut self, block_bytes_max: u32) -> Self {
        self.context.block_bytes_max = block_bytes_max;
        self
    }

    /// The context that the plugin is told.
    pub fn context(&self) -> Context {
        Context { outputs: Rc::from(self.outputs.clone()), ..self.context.clone() }
    }

    /// Starts a transform.
    pub fn transform<T: Transform>(&self) -> Result<TransformUnderTest<T>> {
        let instance = TransformInstance::start(&self.context())?;
        Ok(TransformUnderTest { instance, topics: self.outputs.clone() })
    }

    /// Starts a partitioner.
    pub fn partitioner<T: Partitioner>(&self) -> Result<PartitionerUnderTest<T>> {
        Ok(PartitionerUnderTest { instance: PartitionerInstance::start(&self.context())? })
    }

    /// Starts a sink.
    pub fn sink<T: Sink>(&self) -> Result<SinkUnderTest<T>> {
        Ok(SinkUnderTest { instance: SinkInstance::start(&self.context())? })
    }
}

/// A started transform.
#[derive(Debug)]
pub struct TransformUnderTest<T> {
    instance: TransformInstance<T>,
    topics: Vec<String>,
}

impl<T: Transform> TransformUnderTest<T> {
    /// What a batch of these records becomes.
    pub fn run(&mut self, records: &[Input]) -> Result<Sent> {
        let blocks = self.run_packed(pack(0, records))?;
        unpack(&blocks, &self.topics)
    }

    /// What a packed batch becomes, packed.
    pub fn run_packed(&mut self, batch: Vec<u8>) -> Result<Vec<u8>> {
        host::output::begin();
        let done = self.instance.run(batch);
        let blocks = host::output::take();
        done.map(|()| blocks)
    }
}

/// A started partitioner.
#[derive(Debug)]
pub struct PartitionerUnderTest<T> {
    instance: PartitionerInstance<T>,
}

impl<T: Partitioner> PartitionerUnderTest<T> {
    /// The partitions of these records.
    pub fn run(&self, records: &[Input], partitions: u32) -> Result<Vec<u32>> {
        self.run_packed(&pack(0, records), partitions)
    }

    /// The partitions of a packed batch's records.
    pub fn run_packed(&self, batch: &[u8], partitions: u32) -> Result<Vec<u32>> {
        self.instance.run(batch, partitions)
    }
}

/// A started sink.
#[derive(Debug)]
pub struct SinkUnderTest<T> {
    instance: SinkInstance<T>,
}

impl<T: Sink> SinkUnderTest<T> {
    /// Delivers a batch of these records, the first of which has offset 0.
    pub fn deliver(&mut self, records: &[Input], token: &str) -> Result<(), DeliveryError> {
        self.instance.run(&pack(0, records), token)
    }

    /// Delivers a packed batch.
    pub fn deliver_packed(&mut self, batch: &[u8], token: &str) -> Result<(), DeliveryError> {
        self.instance.run(batch, token)
    }
}
