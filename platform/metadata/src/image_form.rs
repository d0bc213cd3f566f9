//! The image as a snapshot carries it: plain JSON, from which the indexes are built anew.
//!
//! Version rule: that of [`crate::command`]. `version` is the command version that a broker must know to hold
//! this image; unknown fields are errors, so that an older broker stops instead of forgetting them.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use millrace_base::{BrokerId, TopicId};
use serde::{Deserialize, Serialize};

use crate::command::{
    COMMAND_VERSION, DELETED_TOPICS_VERSION, DEPLOYMENT_INPUTS_VERSION, DEPLOYMENTS_VERSION, FIRST_VERSION,
    RETRIES_VERSION,
};
use crate::deployment::{Deployment, DeploymentVersion};
use crate::image::{Broker, Configs, Image, Topic};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageForm<'a> {
    version: u32,
    cluster_id: Cow<'a, str>,
    applied_index: u64,
    next_producer_id: i64,
    brokers: Vec<Arc<Broker>>,
    /// A list, since JSON has no map from "all brokers".
    broker_configs: Vec<(Option<BrokerId>, Arc<Configs>)>,
    topics: Vec<Arc<Topic>>,
    /// Left out while there are none: a broker of the first release can hold such an image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    deployments: Vec<Arc<Deployment>>,
    /// Left out while there are none, as above.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    deleted_topics: Cow<'a, VecDeque<TopicId>>,
}

/// An image that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ImageFormError {
    #[error(
        "the snapshot was written by a newer broker (command version {found}, this one knows up to \
         {COMMAND_VERSION}): upgrade this broker"
    )]
    Newer { found: u32 },
    #[error("the snapshot cannot be parsed: {0}")]
    Malformed(#[from] serde_json::Error),
}

pub(crate) fn encode(image: &Image) -> Result<Vec<u8>, serde_json::Error> {
    let broker_configs = image.broker_configs.iter().map(|(id, configs)| (*id, Arc::clone(configs)));
    serde_json::to_vec(&ImageForm {
        version: version(image),
        cluster_id: Cow::Borrowed(&image.cluster_id),
        applied_index: image.applied_index,
        next_producer_id: image.next_producer_id,
        brokers: image.brokers.values().cloned().collect(),
        broker_configs: broker_configs.collect(),
        topics: image.topics().cloned().collect(),
        deployments: image.deployments().cloned().collect(),
        deleted_topics: Cow::Borrowed(&image.deleted_topics),
    })
}

/// What a broker must know to hold `image`.
fn version(image: &Image) -> u32 {
    let of_deployments = image.deployments().map(|deployment| {
        let count_tries = |version: &Arc<DeploymentVersion>| version.definition.limits.retries.is_some();
        if deployment.input.is_some() {
            DEPLOYMENT_INPUTS_VERSION
        } else if deployment.versions.iter().any(count_tries) {
            RETRIES_VERSION
        } else {
            DEPLOYMENTS_VERSION
        }
    });
    let of_topics = if image.deleted_topics.is_empty() { FIRST_VERSION } else { DELETED_TOPICS_VERSION };
    of_deployments.max().unwrap_or(FIRST_VERSION).max(of_topics)
}

pub(crate) fn decode(json: &[u8]) -> Result<Image, ImageFormError> {
    #[derive(Deserialize)]
    struct VersionOnly {
        version: u32,
    }
    let found = serde_json::from_slice::<VersionOnly>(json)?.version;
    if found > COMMAND_VERSION {
        return Err(ImageFormError::Newer { found });
    }
    let form: ImageForm<'_> = serde_json::from_slice(json)?;
    let brokers: BTreeMap<_, _> =
        form.brokers.into_iter().map(|broker| (broker.registration.id, broker)).collect();
    let mut image = Image {
        cluster_id: form.cluster_id.into(),
        brokers: Arc::new(brokers),
        broker_configs: Arc::new(form.broker_configs.into_iter().collect()),
        next_producer_id: form.next_producer_id,
        applied_index: form.applied_index,
        deleted_topics: Arc::new(form.deleted_topics.into_owned()),
        ..Image::default()
    };
    for topic in form.topics {
        image.put_topic(topic);
    }
    for deployment in form.deployments {
        image.put_deployment(deployment);
    }
    Ok(image)
}

#[cfg(test)]
mod tests {
    use millrace_base::LeaderEpoch;

    use super::*;
    use crate::apply::apply;
    use crate::command::{BrokerRegistration, Command};
    use crate::image::{DELETED_TOPICS_KEPT, Partition};

    fn sample() -> Image {
        let mut image = Image { cluster_id: "c".into(), next_producer_id: 3000, ..Image::default() };
        image.applied_index = 17;
        let registration =
            BrokerRegistration { id: BrokerId(1), host: "h".into(), port: 1, rack: Some("r".into()) };
        let broker = Arc::new(Broker { registration, epoch: 4 });
        image.brokers = Arc::new(BTreeMap::from([(BrokerId(1), broker)]));
        let configs = Arc::new(Configs::from([("a".to_owned(), "b".to_owned())]));
        let by_broker = [(None, Arc::clone(&configs)), (Some(BrokerId(1)), Arc::clone(&configs))];
        image.broker_configs = Arc::new(BTreeMap::from(by_broker));
        for name in ["plain", "with.dot", "with-dash"] {
            let partition = Arc::new(Partition {
                leader: None,
                leader_epoch: LeaderEpoch(3),
                replicas: vec![BrokerId(1)],
                isr: vec![BrokerId(1)],
                partition_epoch: 5,
            });
            let partitions = vec![partition; 3];
            let configs = Arc::clone(&configs);
            image.put_topic(Topic { id: TopicId::random(), name: name.into(), partitions, configs });
        }
        image
    }

    #[test]
    fn an_image_survives_its_form_with_all_indexes() {
        let image = sample();
        let json = encode(&image).unwrap();
        let back = decode(&json).unwrap();
        assert_eq!(encode(&back).unwrap(), json);
        assert_eq!((back.topic_count(), back.partition_count(), back.applied_index()), (3, 9, 17));
        assert_eq!(back.topic_by_name("with.dot"), image.topic_by_name("with.dot"));
        assert_eq!(back.colliding_name("with_dot").map(|name| &**name), Some("with.dot"));
        assert_eq!(back.brokers(), image.brokers());
        assert_eq!(back.broker_configs(None), image.broker_configs(None));
    }

    #[test]
    fn deployments_are_carried_and_ask_for_a_broker_that_knows_them() {
        let mut image = sample();
        let first = encode(&image).unwrap();
        assert!(
            first.starts_with(b"{\"version\":1,") && !String::from_utf8(first).unwrap().contains("deploy")
        );
        let json = format!(
            r#"[{{"put_deployment":{{"name":"route","created_ms":5,
                "definition":{{"module":"{}","kind":"partitioner","topic":"plain"}}}}}},
                {{"replay_deployment":{{"name":"route","topic":"dead","until":[4]}}}}]"#,
            "ab".repeat(32)
        );
        for command in serde_json::from_str::<Vec<Command>>(&json).unwrap() {
            apply(&mut image, 18, &command).unwrap();
        }
        let json = encode(&image).unwrap();
        assert!(json.starts_with(b"{\"version\":4,"), "it says what the input was");
        let back = decode(&json).unwrap();
        assert_eq!(encode(&back).unwrap(), json);
        assert_eq!(back.deployment_count(), 1);
        assert_eq!(back.deployment("route"), image.deployment("route"));
        assert_eq!(back.partitioner("plain").map(|name| &**name), Some("route"));
    }

    #[test]
    fn deleted_topics_are_remembered_the_last_of_them_and_ask_for_a_broker_that_knows_them() {
        let mut image = sample();
        let id = image.topic_by_name("plain").unwrap().id;
        apply(&mut image, 18, &Command::DeleteTopic { id }).unwrap();
        let json = encode(&image).unwrap();
        assert!(json.starts_with(b"{\"version\":4,"));
        let mut back = decode(&json).unwrap();
        assert_eq!(back.deleted_topics().collect::<Vec<_>>(), [id]);
        let template = Topic::clone(image.topics().next().unwrap());
        for _ in 0..DELETED_TOPICS_KEPT {
            let id = TopicId::random();
            back.put_topic(Topic { id, name: "next".into(), ..template.clone() });
            back.remove_topic(id);
        }
        assert_eq!(back.deleted_topics().count(), DELETED_TOPICS_KEPT);
        assert!(!back.deleted_topics().any(|kept| kept == id), "the oldest goes first");
    }

    #[test]
    fn what_a_newer_broker_wrote_is_refused() {
        let json = String::from_utf8(encode(&sample()).unwrap()).unwrap();
        let newer = json.replacen("\"version\":1", &format!("\"version\":{}", COMMAND_VERSION + 1), 1);
        let refused = decode(newer.as_bytes());
        assert!(matches!(refused, Err(ImageFormError::Newer { found }) if found == COMMAND_VERSION + 1));
        let unknown = json.replacen("\"version\":1", "\"version\":1,\"zones\":[]", 1);
        assert!(matches!(decode(unknown.as_bytes()), Err(ImageFormError::Malformed(_))));
    }
}
