//! Short forms for the parts of requests.

use millrace_compat_tests::control::Peer;
use millrace_protocol::StrBytes;
use millrace_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use millrace_protocol::messages::{CreateTopicsRequest, TopicName};

pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

pub fn new_topic(
    name: &str,
    partitions: i32,
    replicas: i16,
    configs: &[(&str, Option<&str>)],
) -> CreatableTopic {
    let config = |(name, value): &(&str, Option<&str>)| {
        CreatableTopicConfig::default().with_name(text(name)).with_value(value.map(text))
    };
    CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(replicas)
        .with_configs(configs.iter().map(config).collect())
}

pub fn create(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
    CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(10_000)
}

/// Creates topics in both brokers, to be used by what follows.
pub fn create_in(peer: &mut Peer, topics: &[(&str, i32, &[(&str, Option<&str>)])]) {
    let new = topics.iter().map(|(name, partitions, configs)| new_topic(name, *partitions, 1, configs));
    let response = peer.ask(7, &create(new.collect())).unwrap();
    for topic in response.topics {
        assert_eq!(topic.error_code, 0, "create {:?}: {:?}", topic.name, topic.error_message);
    }
    for (name, partitions, _) in topics {
        peer.await_leaders(name, *partitions);
    }
    peer.learn_topics();
}
