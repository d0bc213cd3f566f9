//! What an administrator can ask and change: cluster, topics, settings, offsets, log directories.

use millrace_client::Record;
use millrace_client::admin::{ConfigChange, ConfigResource, NewTopic, OffsetSpec};

const TOPIC: &str = "example-admin";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = millrace_examples::connect().await?;
    let admin = client.admin();

    let cluster = admin.describe_cluster().await?;
    println!("cluster {} (controller {:?})", cluster.cluster_id, cluster.controller);
    for broker in &cluster.brokers {
        println!("  broker {} at {}:{}", broker.id, broker.host, broker.port);
    }

    let wanted = NewTopic::new(TOPIC, 2).config("retention.ms", "3600000");
    match admin.create_topic(wanted).await {
        Ok(topic) => println!("created {} (id {})", topic.name, topic.id),
        // 36: there is one of that name already, from an earlier run that was cut short.
        Err(error) if error.code() == Some(36) => println!("{TOPIC} exists already"),
        Err(error) => return Err(error.into()),
    }
    admin.create_partitions(TOPIC, 4).await?;
    for partition in admin.describe_topic(TOPIC).await?.partitions {
        println!(
            "  partition {}: leader {:?}, in sync {:?}",
            partition.partition, partition.leader, partition.isr
        );
    }
    for topic in admin.list_topics(false).await? {
        println!("topic {} with {} partitions", topic.name, topic.partitions);
    }

    let resource = ConfigResource::Topic(TOPIC.to_owned());
    admin.alter_configs(&resource, &[ConfigChange::set("retention.ms", "7200000")]).await?;
    for entry in admin.describe_configs(&resource, &["retention.ms", "cleanup.policy"]).await? {
        println!("{} = {} ({})", entry.name, entry.value.unwrap_or_default(), entry.source);
    }

    let producer = client.producer().build().await?;
    let records = (0..100).map(|_| Record::value(b"something to count").with_partition(0));
    producer.send_batch(TOPIC, records).await?.await?;
    producer.close().await;
    let first = admin.delete_records(TOPIC, 0, 40).await?;
    println!("partition 0 now begins at {first}");
    for spec in [OffsetSpec::Earliest, OffsetSpec::Latest] {
        for listed in admin.list_offsets(TOPIC, &[0, 1], spec).await? {
            println!("{spec:?} of partition {}: {:?}", listed.partition, listed.offset);
        }
    }

    for broker in &cluster.brokers {
        for dir in admin.describe_log_dirs(broker.id).await? {
            let bytes: u64 = dir.replicas.iter().map(|replica| replica.bytes).sum();
            println!(
                "broker {}: {} holds {bytes} bytes in {} replicas",
                broker.id,
                dir.path,
                dir.replicas.len()
            );
        }
    }
    admin.delete_topic(TOPIC).await?;
    println!("deleted {TOPIC}");
    client.close().await;
    Ok(())
}
