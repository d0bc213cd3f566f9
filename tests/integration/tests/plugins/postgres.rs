//! Rows in a real database: written once by key, kept waiting while it is away, and its refusals told.

use millrace_client::plugins::{PartitionState, SecretText};
use millrace_client::{Client, Transport};
use millrace_test_harness::{Broker, plugin, skipped};

use crate::database::Database;
use crate::support::{caught_up, create_topics, definition, halted, produce, until};

const KEYS: usize = 100;

async fn deploy(client: &Client, name: &str, database: &Database, columns: &str) {
    let mut sink = definition(client, plugin("postgres-upsert"), "orders", &[]).await;
    let settings = [("table", "orders"), ("columns", columns), ("key", "id")];
    sink.config = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    sink.grants.postgres.insert("default".into(), SecretText(database.url()));
    client.plugins().deploy(name, sink, false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_arrive_to_the_last_digit() {
    let Some(database) = Database::start().await else {
        return skipped("PostgreSQL is not installed: run `cargo xtask tools`");
    };
    let rows = database.client().await;
    let table =
        "create table orders (id numeric primary key, total numeric, at bigint, near double precision)";
    rows.batch_execute(table).await.unwrap();
    let broker = Broker::start().unwrap();
    let client = broker.client(Transport::Quic).connect().await.unwrap();
    create_topics(&client, &[("orders", 1)]).await;
    deploy(&client, "rows", &database, "id:int, total:float, at:int, near:float").await;
    let values = [
        r#"{"id":12345678901234567890123456789,"total":19.990000000000000001,"at":9007199254740993,"near":0.1}"#,
        // The same key, written in another way, and in the same batch.
        r#"{"id":7,"total":1e-30,"at":1,"near":2}"#,
        r#"{"id":7,"total":-0.10,"at":2,"near":1e300}"#,
    ];
    produce(&client, "orders", values.map(|value| ("k".to_owned(), value.to_owned()))).await;
    caught_up(&client, "rows").await;
    let query = "select id::text, total::text, at, near from orders order by at";
    let found: Vec<(String, String, i64, f64)> = rows
        .query(query, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)))
        .collect();
    let big = (
        "12345678901234567890123456789".to_owned(),
        "19.990000000000000001".to_owned(),
        9_007_199_254_740_993,
        0.1,
    );
    assert_eq!(found, [("7".to_owned(), "-0.10".to_owned(), 2, 1e300), big]);
}

/// Orders whose numbers go on from `first`, each key several times.
fn orders(first: usize, count: usize) -> impl Iterator<Item = (String, String)> {
    (first..first + count).map(|number| {
        let note = "it's \\\"quoted\\\" \u{e9}";
        (format!("order-{}", number % KEYS), format!(r#"{{"total":{number},"note":"{note}"}}"#))
    })
}

/// Every key has one row, which is the last that was written of it.
async fn check_rows(rows: &tokio_postgres::Client, written: usize) {
    let rows = rows.query("select id, total, note from orders", &[]).await.unwrap();
    assert_eq!(rows.len(), KEYS);
    for row in rows {
        let (id, total): (String, i64) = (row.get(0), row.get(1));
        let key: usize = id.strip_prefix("order-").unwrap().parse().unwrap();
        assert_eq!(total as usize, written - KEYS + key, "{id}");
        assert_eq!(row.get::<_, String>(2), "it's \"quoted\" \u{e9}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_upserted_by_key_whatever_happens_to_the_database() {
    let Some(mut database) = Database::start().await else {
        return skipped("PostgreSQL is not installed: run `cargo xtask tools`");
    };
    let rows = database.client().await;
    rows.batch_execute("create table orders (id text primary key, total bigint, note text)").await.unwrap();
    let broker = Broker::start().unwrap();
    let client = broker.client(Transport::Quic).connect().await.unwrap();
    create_topics(&client, &[("orders", 2)]).await;
    deploy(&client, "rows", &database, "id:text=@key, total:int, note:text").await;

    produce(&client, "orders", orders(0, 5 * KEYS)).await;
    caught_up(&client, "rows").await;
    check_rows(&rows, 5 * KEYS).await;

    database.stop();
    produce(&client, "orders", orders(5 * KEYS, KEYS)).await;
    let waiting = until(&client, "rows", "the sink to wait for the database", |now| {
        now.partitions.iter().all(|partition| partition.state == PartitionState::Retrying)
    })
    .await;
    for partition in &waiting.partitions {
        assert!(partition.error.is_some() && partition.lag() > Some(0), "{partition:?}");
    }
    // What comes meanwhile waits in its topic.
    produce(&client, "orders", orders(6 * KEYS, 2 * KEYS)).await;
    let still = client.plugins().describe("rows").await.unwrap();
    for (now, before) in still.partitions.iter().zip(&waiting.partitions) {
        assert_eq!(now.offset, before.offset, "nothing is given up");
    }
    database.restart().await;
    caught_up(&client, "rows").await;
    check_rows(&database.client().await, 8 * KEYS).await;

    deploy(&client, "wrong", &database, "id:text=@key, colour:text=note").await;
    let said = halted(&client, "wrong").await;
    assert!(said.contains(r#"column "colour" of relation "orders" does not exist"#), "{said}");
    check_rows(&database.client().await, 8 * KEYS).await;
}
