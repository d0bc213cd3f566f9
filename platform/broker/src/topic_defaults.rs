//! What topics of a broker have when they do not say: its file, and what was changed while brokers run.

use std::sync::Arc;

use millrace_base::BrokerId;
use millrace_config::{BrokerConfig, TopicDefaults};
use millrace_metadata::Image;

/// As of `image`.
pub(crate) fn topic_defaults(file: &Arc<BrokerConfig>, broker: BrokerId, image: &Image) -> TopicDefaults {
    let changed = |broker| image.broker_configs(broker).cloned().unwrap_or_default();
    TopicDefaults { file: Arc::clone(file), of_broker: changed(Some(broker)), of_all_brokers: changed(None) }
}
