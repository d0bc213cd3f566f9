//! What is refused before anything runs, in words that say what to do.

use bytes::Bytes;
use millrace_client::Transport;
use millrace_client::plugins::{FailurePolicy, Kind, ModuleDigest};
use millrace_test_harness::{Broker, Program, guest, plugin};

use crate::support::{create_topics, definition};

#[tokio::test]
async fn what_could_not_run_is_not_deployed() {
    let broker = Broker::start().unwrap();
    let client = broker.client(Transport::Quic).connect().await.unwrap();
    create_topics(&client, &[("in", 1), ("out", 1)]).await;
    let plugins = client.plugins();

    let said = plugins.upload(Bytes::from_static(b"no module"), |_, _| {}).await.unwrap_err().to_string();
    assert!(said.contains("this is not WebAssembly"), "{said}");
    let large = Bytes::from(vec![0; (64 << 20) + 1]);
    let said = plugins.upload(large, |_, _| {}).await.unwrap_err().to_string();
    assert!(said.contains("67108865 bytes") && said.contains("67108864"), "{said}");

    let usual = definition(&client, guest("identity", "transform"), "in", &["out"]).await;
    let refuse = async |change: &dyn Fn(&mut millrace_client::plugins::Definition)| {
        let mut definition = usual.clone();
        change(&mut definition);
        plugins.deploy("d", definition, false).await.unwrap_err().to_string()
    };
    let said = refuse(&|d| (d.kind, d.outputs) = (Kind::Sink, Vec::new())).await;
    assert!(said.contains("is a transform, and the definition says that it is a sink"), "{said}");
    let said = refuse(&|d| d.module = ModuleDigest::of(b"another")).await;
    assert!(said.contains("there is no module") && said.contains("upload it first"), "{said}");
    let said = refuse(&|d| d.topic = "nowhere".into()).await;
    assert!(said.contains("the input topic 'nowhere' does not exist"), "{said}");
    let said = refuse(&|d| d.outputs = vec!["nowhere".into()]).await;
    assert!(said.contains("the output topic 'nowhere' does not exist"), "{said}");
    let said = refuse(&|d| d.outputs.clear()).await;
    assert!(said.contains("needs at least one output topic"), "{said}");
    let said = refuse(&|d| d.failure = FailurePolicy::DeadLetter { topic: "nowhere".into() }).await;
    assert!(said.contains("the dead-letter topic 'nowhere' does not exist"), "{said}");
    let said = refuse(&|d| d.limits.busy_ms = Some(0)).await;
    assert!(said.contains("limits.busy_ms is 0, and must be 1 to 60000"), "{said}");
    let said = plugins.deploy("not a name", usual.clone(), false).await.unwrap_err().to_string();
    assert!(said.contains("`not a name`"), "{said}");

    let webhook = definition(&client, plugin("http-webhook"), "in", &[]).await;
    let said = plugins.deploy("d", webhook, false).await.unwrap_err().to_string();
    assert!(said.contains("which needs the capability `"), "{said}");
    assert!(said.contains("the module imports `") && said.contains("--grant "), "{said}");
    let postgres = definition(&client, plugin("postgres-upsert"), "in", &[]).await;
    let said = plugins.deploy("d", postgres, false).await.unwrap_err().to_string();
    assert!(said.contains("imports `millrace:plugin/postgres"), "{said}");
    assert!(said.contains("--grant postgres=NAME=URL"), "{said}");

    assert!(plugins.list().await.unwrap().is_empty(), "nothing of it was deployed");
    plugins.deploy("d", usual.clone(), true).await.unwrap();
    assert!(plugins.list().await.unwrap().is_empty(), "a trial deploys nothing");
}

#[tokio::test]
async fn the_command_line_says_why_and_fails() {
    let broker = Broker::start().unwrap();
    let client = broker.client(Transport::Quic).connect().await.unwrap();
    create_topics(&client, &[("in", 1)]).await;
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let text = write("text.wasm", b"no module");
    let transform = write("identity.wasm", &guest("identity", "transform"));
    let webhook = write("webhook.wasm", &plugin("http-webhook"));
    for (module, more, expected) in [
        (&text, &["--topic", "in"][..], "this is not WebAssembly"),
        (&transform, &["--topic", "in", "--to", "nowhere"], "the output topic 'nowhere' does not exist"),
        (&transform, &["--topic", "in"], "a transform needs at least one output topic"),
        (&webhook, &["--topic", "in"], "--grant http=HOST"),
    ] {
        let arguments = [&["plugin", "deploy", "d", module.as_str()], more].concat();
        let said = Program::from(broker.cli(&arguments)).fail().unwrap();
        assert!(said.contains(expected), "{said}");
    }
}
