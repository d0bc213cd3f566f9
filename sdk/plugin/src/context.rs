//! Where a plugin runs and how it is configured.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::outputs::Output;

/// What a plugin is told once, before its first batch.
#[derive(Clone, Debug, Default)]
pub struct Context {
    pub(crate) deployment: String,
    pub(crate) version: u32,
    pub(crate) topic: String,
    pub(crate) partition: u32,
    pub(crate) outputs: Rc<[String]>,
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) block_bytes_max: u32,
}

impl Context {
    /// Name of the deployment.
    pub fn deployment(&self) -> &str {
        &self.deployment
    }

    /// Version of the deployment, from 1.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// The input topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The input partition that this instance serves; 0 for a partitioner, which serves all of them.
    pub const fn partition(&self) -> u32 {
        self.partition
    }

    /// Names of the output topics.
    pub fn outputs(&self) -> &[String] {
        &self.outputs
    }

    /// The output topic of this name.
    pub fn output(&self, topic: &str) -> Result<Output> {
        let index = self.outputs.iter().position(|output| output == topic).ok_or_else(|| {
            let outputs = self.outputs.join(", ");
            Error::new(format!("the deployment has no output topic `{topic}`; its outputs are: {outputs}"))
        })?;
        Ok(Output(index as u32))
    }

    /// All settings of the deployment.
    pub const fn config(&self) -> &BTreeMap<String, String> {
        &self.config
    }

    /// A setting that may be absent.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.config.get(key).map(String::as_str)
    }

    /// A setting that must be there.
    pub fn require(&self, key: &str) -> Result<&str> {
        self.get(key).ok_or_else(|| Error::new(format!("the deployment lacks the setting `{key}`")))
    }

    /// A setting of another type than text, or `default` where it is absent.
    pub fn parse<T: FromStr>(&self, key: &str, default: T) -> Result<T> {
        match self.get(key) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| {
                let kind = std::any::type_name::<T>().rsplit("::").next().unwrap_or_default();
                Error::new(format!("the setting `{key}` is `{text}`, which is not a {kind}"))
            }),
        }
    }

    /// The settings whose names begin with `prefix`, with the rest of their names, in the names' order.
    pub fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.config.iter().filter_map(move |(key, value)| Some((key.strip_prefix(prefix)?, value.as_str())))
    }
}
