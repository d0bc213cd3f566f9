//! What the tests of plugins share: deployments, topics, and all that is in a topic.

use std::time::Duration;

use bytes::Bytes;
use millrace_client::admin::{NewTopic, OffsetSpec};
use millrace_client::plugins::{
    Definition, DeploymentState, Description, FailurePolicy, GrantDefinitions, Kind, LimitOverrides,
    LogLevel, StartPosition,
};
use millrace_client::{Client, ConsumerRecord, Record, StartAt};
use millrace_test_harness::eventually_async;

/// Everything that waits, waits on a condition; this is when a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Creates topics, each with so many partitions.
pub async fn create_topics(client: &Client, topics: &[(&str, i32)]) {
    for (name, partitions) in topics {
        client.admin().create_topic(NewTopic::new(*name, *partitions)).await.unwrap();
    }
}

/// Uploads the module and says what a deployment of it shall be, from the first record of `topic` on.
pub async fn definition(client: &Client, module: Bytes, topic: &str, outputs: &[&str]) -> Definition {
    let info = client.plugins().upload(module, |_, _| {}).await.unwrap();
    let outputs = if info.kind == Kind::Transform { outputs } else { &[] };
    Definition {
        module: info.digest,
        kind: info.kind,
        topic: topic.to_owned(),
        outputs: outputs.iter().map(|name| (*name).to_owned()).collect(),
        start: StartPosition::Earliest,
        failure: FailurePolicy::Halt,
        config: [].into(),
        grants: GrantDefinitions::default(),
        limits: LimitOverrides::default(),
        log_level: LogLevel::default(),
    }
}

/// Deploys a module with defaults.
pub async fn deploy(client: &Client, name: &str, module: Bytes, topic: &str, outputs: &[&str]) {
    let definition = definition(client, module, topic, outputs).await;
    client.plugins().deploy(name, definition, false).await.unwrap();
}

/// Waits until the deployment is as `condition` wants it.
pub async fn until(
    client: &Client,
    name: &str,
    what: &str,
    condition: impl Fn(&Description) -> bool,
) -> Description {
    let condition = &condition;
    eventually_async(what, PATIENCE, || async move {
        // Just after a restart there may be no answer.
        client.plugins().describe(name).await.ok().filter(|description| condition(description))
    })
    .await
}

/// Waits until the deployment has halted, and returns why.
pub async fn halted(client: &Client, name: &str) -> String {
    let description =
        until(client, name, "the deployment to halt", |it| it.state == DeploymentState::Halted).await;
    description.partitions.into_iter().find_map(|partition| partition.error).unwrap()
}

/// Waits until the deployment has dealt with every record that is in its input now.
pub async fn caught_up(client: &Client, name: &str) {
    let first = until(client, name, "an answer", |now| !now.partitions.is_empty()).await;
    until(client, name, "the deployment to catch up", |now| {
        let mut partitions = now.partitions.iter().zip(&first.partitions);
        now.partitions.len() == first.partitions.len()
            && partitions.all(|(now, first)| now.offset >= Some(first.end_offset))
    })
    .await;
}

/// Where a partition ends.
pub async fn end_offset(client: &Client, topic: &str, partition: i32) -> i64 {
    let ends = eventually_async("the end of a partition", PATIENCE, || async {
        client.admin().list_offsets(topic, &[partition], OffsetSpec::Latest).await.ok()
    });
    ends.await[0].offset.unwrap()
}

/// Everything that a partition holds now.
pub async fn read_partition(client: &Client, topic: &str, partition: i32) -> Vec<ConsumerRecord> {
    let end = end_offset(client, topic, partition).await;
    let mut consumer = client.consumer().build();
    consumer.assign(topic, &[partition], StartAt::Beginning).await.unwrap();
    let mut records = Vec::new();
    while consumer.position(topic, partition).unwrap_or(0) < end {
        let batch = consumer.poll_batch(PATIENCE).await.unwrap();
        records.extend(batch.expect("there is more to read").records());
    }
    consumer.close().await;
    records
}

/// Writes records of these keys and values and waits until all are acknowledged.
pub async fn produce(client: &Client, topic: &str, records: impl IntoIterator<Item = (String, String)>) {
    let producer = client.producer().build().await.unwrap();
    let mut deliveries = Vec::new();
    for (key, value) in records {
        deliveries.push(producer.send(topic, Record::value(&value).with_key(&key)).await.unwrap());
    }
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    producer.close().await;
}

/// The text of a record's value.
pub fn text(record: &ConsumerRecord) -> &str {
    str::from_utf8(record.value().unwrap()).unwrap()
}

/// The text of a record's header.
pub fn header<'a>(record: &'a ConsumerRecord, name: &str) -> Option<&'a str> {
    let (_, value) = record.headers().iter().find(|(key, _)| key == name)?;
    value.as_deref().map(|value| str::from_utf8(value).unwrap())
}
