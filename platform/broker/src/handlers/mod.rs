//! One file per Kafka API: decode → decide → reply, in one sitting.

pub(crate) mod api_versions;
