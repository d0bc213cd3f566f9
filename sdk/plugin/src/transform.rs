//! Transforms: batches of an input topic become batches of output topics.

use std::rc::Rc;

use crate::batch::Walk;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::outputs::Outputs;
use crate::record::Record;

/// A transform. `#[millrace_plugin::transform]` on the implementation makes it the plugin.
///
/// ```
/// use millrace_plugin::{Context, Output, Outputs, Record, Result, Transform};
///
/// struct Split { large: Output, small: Output, limit: usize }
///
/// #[millrace_plugin::transform]
/// impl Transform for Split {
///     fn start(context: &Context) -> Result<Self> {
///         Ok(Self {
///             large: context.output("large")?,
///             small: context.output("small")?,
///             limit: context.parse("limit", 1000)?,
///         })
///     }
///
///     fn transform(&mut self, record: &Record<'_>, out: &mut Outputs) -> Result<()> {
///         let len = record.value().map_or(0, <[u8]>::len);
///         out.forward_to(if len > self.limit { self.large } else { self.small }, record);
///         Ok(())
///     }
/// }
/// ```
pub trait Transform: Sized {
    /// Called once per instance, and an instance serves one partition. An error refuses the deployment.
    fn start(context: &Context) -> Result<Self>;

    /// Called for every record, in order. An error fails the whole batch: nothing of it is stored, and the
    /// deployment's failure policy decides what follows.
    fn transform(&mut self, record: &Record<'_>, out: &mut Outputs) -> Result<()>;
}

/// A started transform: what the guest's exports and the tests' harness drive.
#[derive(Debug)]
pub struct TransformInstance<T> {
    plugin: T,
    outputs: Outputs,
}

impl<T: Transform> TransformInstance<T> {
    /// Starts the plugin.
    pub fn start(context: &Context) -> Result<Self> {
        let outputs = Outputs::new(Rc::clone(&context.outputs), context.block_bytes_max);
        Ok(Self { plugin: T::start(context)?, outputs })
    }

    /// Hands what a packed batch becomes to the host.
    pub fn run(&mut self, batch: Vec<u8>) -> Result<()> {
        let batch = Rc::new(batch);
        let mut walk = Walk::new(&batch)?;
        self.outputs.begin(&batch, &walk.header);
        while let Some(record) = walk.next()? {
            if let Err(error) = self.plugin.transform(&record, &mut self.outputs) {
                return Err(Error::new(format!("record at offset {}: {error}", record.offset())));
            }
        }
        self.outputs.finish()
    }
}
