//! Logs at the start whose topics the metadata do not have: what was deleted goes, what was never known stays.

mod common;

use common::TestBroker;
use millrace_base::TopicId;
use millrace_metadata::Command;

#[tokio::test]
async fn a_log_that_the_metadata_have_never_known_stays() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    for topic in ["known", "newer"] {
        client.create_topic(topic, 1, &[]).await;
        client.write(topic, 0, &["a"]).await;
    }
    let id = broker.metadata.image().topic_by_name("newer").unwrap().id;
    drop(client);
    let (dir, config) = broker.stop().await;
    // As if the topic had been made after the backup that these metadata are from.
    let (topics, unknown) = (dir.path().join("log/topics"), TopicId::random());
    std::fs::rename(topics.join(format!("{id}-0")), topics.join(format!("{unknown}-0"))).unwrap();
    for _ in 0..2 {
        let broker = TestBroker::reopen(dir.clone(), config.clone()).await;
        let kept: Vec<_> = broker.log.partitions().into_iter().filter(|tp| tp.topic == unknown).collect();
        assert_eq!(kept.len(), 1);
        broker.stop().await;
    }
    assert!(topics.join(format!("{unknown}-0/{:020}.log", 0)).exists());
}

#[tokio::test]
async fn a_topic_that_was_deleted_while_its_broker_was_down_goes() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    for topic in ["kept", "gone"] {
        client.create_topic(topic, 1, &[]).await;
        client.write(topic, 0, &["a"]).await;
    }
    let id = broker.metadata.image().topic_by_name("gone").unwrap().id;
    drop(client);
    broker.broker.shutdown().await;
    broker.metadata.submit(Command::DeleteTopic { id }).await.unwrap();
    let partitions = broker.log.partitions().len();
    let broker = broker.restart().await;
    assert_eq!(broker.log.partitions().len(), partitions - 1);
    assert!(broker.log.partitions().iter().all(|tp| tp.topic != id));
}
