//! Plugins over HTTP, as `curl` would manage them, on the broker that runs them.

use millrace_client::Transport;
use millrace_test_harness::{Broker, guest};
use serde_json::{Value, json};

use crate::support::{caught_up, create_topics, end_offset, produce};

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_lives_and_dies_over_rest() {
    let broker = Broker::start().unwrap();
    let client = broker.client(Transport::Quic).connect().await.unwrap();
    create_topics(&client, &[("in", 1), ("out", 1)]).await;
    let ask = |method: &str, path: &str, content: Option<(&str, &[u8])>| {
        let (status, body) = broker.http_request(method, path, content).unwrap();
        (status, serde_json::from_str::<Value>(&body).unwrap_or(Value::Null))
    };

    let module = guest("identity", "transform");
    let (status, info) = ask("POST", "/v1/modules", Some(("application/wasm", &module)));
    assert_eq!((status, info["kind"].as_str()), (201, Some("transform")), "{info}");
    let digest = info["digest"].as_str().unwrap();
    assert_eq!(ask("GET", &format!("/v1/modules/{digest}"), None).1, info);
    let definition = |topic: &str| {
        json!({ "module": digest, "kind": "transform", "topic": topic, "outputs": ["out"], "start": "earliest" })
            .to_string()
    };
    let put =
        |path: &str, topic: &str| ask("PUT", path, Some(("application/json", definition(topic).as_bytes())));
    let (status, refused) = put("/v1/plugins/rest", "nowhere");
    assert_eq!(status, 404, "{refused}");
    assert!(refused["error"].to_string().contains("'nowhere' does not exist"), "{refused}");
    assert_eq!(put("/v1/plugins/rest?validate_only=true", "in").0, 200);
    assert_eq!(ask("GET", "/v1/plugins/rest", None).0, 404, "a trial deploys nothing");

    let (status, deployed) = put("/v1/plugins/rest", "in");
    assert_eq!((status, deployed["state"].as_str()), (200, Some("running")), "{deployed}");
    produce(&client, "in", (0..10).map(|number| ("k".to_owned(), number.to_string()))).await;
    caught_up(&client, "rest").await;
    assert_eq!(end_offset(&client, "out", 0).await, 10);
    let (status, described) = ask("GET", "/v1/plugins/rest", None);
    assert_eq!((status, described["partitions"][0]["offset"].as_i64()), (200, Some(10)), "{described}");
    assert_eq!(ask("GET", "/v1/plugins", None).1[0]["name"], "rest");
    assert_eq!(ask("POST", "/v1/plugins/rest/pause", None).1["state"], "paused");
    assert_eq!(ask("POST", "/v1/plugins/rest/resume", None).1["state"], "running");

    assert_eq!(ask("DELETE", "/v1/plugins/rest", None).0, 204);
    assert_eq!(ask("GET", "/v1/plugins/rest", None).0, 404);
    assert_eq!(ask("GET", "/v1/plugins", None).1, json!([]));
}
