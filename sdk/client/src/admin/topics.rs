//! Creating, listing, describing, deleting and widening topics.

use std::time::{Duration, Instant};

use millrace_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use millrace_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use millrace_protocol::messages::delete_topics_request::DeleteTopicState;
use millrace_protocol::messages::{CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest};

use super::{Admin, NewTopic, PartitionInfo, TopicInfo, TopicListing, only, text, topic_name};
use crate::cluster::{Image, TopicImage, metadata_request};
use crate::error::{RequestError, check};

/// How long a change may take to reach the brokers that serve metadata.
const SPREAD_TIME: Duration = Duration::from_secs(5);
const SPREAD_PAUSE: Duration = Duration::from_millis(20);
/// From this version on DeleteTopics names topics in `topics`.
const DELETE_TOPICS_STATES_FROM: i16 = 6;

impl Admin {
    /// Creates a topic and waits until it can be used; returns it as created.
    pub async fn create_topic(&self, topic: NewTopic) -> Result<TopicInfo, RequestError> {
        self.create(&topic, false).await?;
        self.cluster().forget(&topic.name);
        let started = Instant::now();
        loop {
            match self.fetch_topic(&topic.name).await {
                Ok(found) if found.has_leaders() || started.elapsed() > SPREAD_TIME => {
                    return Ok(topic_info(&found));
                }
                Err(error) if started.elapsed() > SPREAD_TIME => return Err(error),
                Ok(_) | Err(RequestError::UnknownTopic { .. }) => {}
                Err(error) if error.is_retriable() => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(SPREAD_PAUSE).await;
        }
    }

    /// Checks what [`Admin::create_topic`] would do, without doing it.
    pub async fn validate_topic(&self, topic: NewTopic) -> Result<(), RequestError> {
        self.create(&topic, true).await
    }

    async fn create(&self, topic: &NewTopic, validate_only: bool) -> Result<(), RequestError> {
        let config = |(name, value): (&String, &String)| {
            CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
        };
        let creatable = CreatableTopic::default()
            .with_name(topic_name(&topic.name))
            .with_num_partitions(topic.partitions)
            .with_replication_factor(topic.replication_factor)
            .with_configs(topic.configs.iter().map(config).collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![creatable])
            .with_timeout_ms(self.timeout_ms())
            .with_validate_only(validate_only);
        self.ask_controller(request, |response| {
            let result = only("CreateTopics", &response.topics)?;
            let what = || format!("topic '{}'", topic.name);
            check("CreateTopics", what, result.error_code, result.error_message.as_deref())
        })
        .await
    }

    /// All topics, by name; internal ones only if asked for.
    pub async fn list_topics(&self, internal: bool) -> Result<Vec<TopicListing>, RequestError> {
        let image = self.fetch_image(None).await?;
        let mut topics: Vec<_> = image
            .topics
            .values()
            .filter(|topic| internal || !topic.internal)
            .map(|topic| TopicListing {
                name: topic.name.to_string(),
                id: topic.id.to_string(),
                partitions: topic.partitions.len(),
                internal: topic.internal,
            })
            .collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    pub async fn describe_topic(&self, topic: &str) -> Result<TopicInfo, RequestError> {
        Ok(topic_info(&self.fetch_topic(topic).await?))
    }

    pub async fn delete_topic(&self, topic: &str) -> Result<(), RequestError> {
        let cluster = self.cluster();
        let timeout_ms = self.timeout_ms();
        let response = cluster
            .controller()
            .request_with(|version| {
                let request = DeleteTopicsRequest::default().with_timeout_ms(timeout_ms);
                if version >= DELETE_TOPICS_STATES_FROM {
                    let state = DeleteTopicState::default().with_name(Some(topic_name(topic)));
                    request.with_topics(vec![state])
                } else {
                    request.with_topic_names(vec![topic_name(topic)])
                }
            })
            .await?;
        let result = only("DeleteTopics", &response.responses)?;
        let what = || format!("topic '{topic}'");
        check("DeleteTopics", what, result.error_code, result.error_message.as_deref())?;
        cluster.forget(topic);
        Ok(())
    }

    /// Raises the number of partitions of `topic` to `total`.
    pub async fn create_partitions(&self, topic: &str, total: i32) -> Result<(), RequestError> {
        let wanted = CreatePartitionsTopic::default().with_name(topic_name(topic)).with_count(total);
        let wanted = wanted.with_assignments(None);
        let request =
            CreatePartitionsRequest::default().with_topics(vec![wanted]).with_timeout_ms(self.timeout_ms());
        self.ask_controller(request, |response| {
            let result = only("CreatePartitions", &response.results)?;
            let what = || format!("topic '{topic}'");
            check("CreatePartitions", what, result.error_code, result.error_message.as_deref())
        })
        .await?;
        self.cluster().forget(topic);
        Ok(())
    }

    async fn fetch_topic(&self, topic: &str) -> Result<TopicImage, RequestError> {
        let mut image = self.fetch_image(Some(&[topic.to_owned()])).await?;
        if let Some(found) = image.topics.get(topic) {
            return Ok(TopicImage::clone(found));
        }
        Err(image
            .refusals
            .remove(topic)
            .unwrap_or_else(|| RequestError::UnknownTopic { topic: topic.to_owned() }))
    }

    pub(super) async fn fetch_image(&self, names: Option<&[String]>) -> Result<Image, RequestError> {
        let request = metadata_request(names, false);
        let asked_at = Instant::now();
        let response = self.cluster().ask_any(|broker| {
            let request = request.clone();
            async move { broker.request(request).await }
        });
        Ok(Image::from_response(response.await?, asked_at))
    }
}

fn topic_info(topic: &TopicImage) -> TopicInfo {
    let partition = |(index, partition): (usize, &crate::cluster::PartitionImage)| PartitionInfo {
        partition: i32::try_from(index).unwrap_or(i32::MAX),
        leader: partition.leader,
        leader_epoch: partition.leader_epoch,
        replicas: partition.replicas.clone(),
        isr: partition.isr.clone(),
        offline: partition.offline.clone(),
    };
    TopicInfo {
        name: topic.name.to_string(),
        id: topic.id.to_string(),
        internal: topic.internal,
        partitions: topic.partitions.iter().enumerate().map(partition).collect(),
    }
}
