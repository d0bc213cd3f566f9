//! Who answers requests about plugins; the broker's handlers and the HTTP side ask it.

use futures::future::BoxFuture;

use super::{ManageReply, ManageRequest, ModuleChunk, PartitionRecords, PluginError, UploadReply};

/// Answers requests about plugins. Nothing it is given makes it hold more than a request's own size, and no
/// answer waits for a plugin longer than the plugin's limits.
pub trait PluginService: Send + Sync + 'static {
    fn manage(&self, request: ManageRequest) -> BoxFuture<'_, Result<ManageReply, PluginError>>;

    /// Takes a piece of a module. Pieces come in order; one that was sent before is answered with the offset
    /// to go on from.
    fn upload(&self, chunk: ModuleChunk) -> BoxFuture<'_, Result<UploadReply, PluginError>>;

    /// A partition for each record, by the partitioner that is bound to the topic.
    fn partition(&self, request: PartitionRecords) -> BoxFuture<'_, Result<Vec<u32>, PluginError>>;

    /// The deployment that is `topic`'s partitioner, if it has one; asked for every topic of every metadata
    /// request.
    fn partitioner(&self, topic: &str) -> Option<String>;
}
