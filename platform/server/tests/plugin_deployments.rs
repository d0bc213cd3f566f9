//! The commands about deployments, with what they send taken and answered by a broker in this process.

mod plugin_support;
mod support;

use std::process::{Command, Output};

use plugin_support::broker::PluginBroker;
use plugin_support::{in_project, project};
use serde_json::{Value, json};
use support::{Home, millrace, run, stderr, stdout};

/// A command that reaches `broker`, run where it does not hold up the broker.
async fn at(broker: &PluginBroker, mut command: Command) -> Output {
    command.env("MILLRACE_BOOTSTRAP", broker.address.to_string()).env("MILLRACE_TRANSPORT", "tcp");
    tokio::task::spawn_blocking(move || run(command, b"")).await.expect("the command does not panic")
}

async fn plugin(broker: &PluginBroker, arguments: &[&str]) -> Output {
    at(broker, millrace([&["plugin"], arguments].concat())).await
}

async fn json_of(broker: &PluginBroker, arguments: &[&str]) -> Value {
    let text = stdout(&plugin(broker, &[arguments, &["--output", "json"]].concat()).await);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_is_deployed_and_managed() {
    let home = Home::new();
    let path = project(&home, "deployed", "transform");
    let broker = PluginBroker::start().await;
    assert_eq!(stdout(&plugin(&broker, &["list"]).await), "");

    let deploy = |more: &[&str]| {
        let what =
            ["plugin", "deploy", "errs", ".", "--topic", "logs", "--to", "errors", "--from", "offset:2"];
        let policy = ["--on-failure", "dead-letter:bad", "--grant", "secret=token=hunter2"];
        in_project(&path, &[&what[..], &policy, more].concat())
    };
    let trial = stdout(&at(&broker, deploy(&["--dry-run"])).await);
    assert!(trial.starts_with("transform 'errs', running, version 1 of "), "{trial}");
    assert_eq!(json_of(&broker, &["list"]).await, json!([]));

    let text = stdout(&at(&broker, deploy(&["--create-topics=3", "--limit", "busy_ms=2s"])).await);
    for told in ["on failure  dead letter to 'bad'", "grant       secret token", "busy_ms=2s", "offset 2"] {
        assert!(text.contains(told), "{told} in {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
    let sent = broker.table.last.lock().clone().expect("a definition");
    assert_eq!(sent.grants.secrets["token"].0, "hunter2");
    let topics = stdout(&at(&broker, millrace(["topic", "list", "--output", "json"])).await);
    let topics: Vec<Value> = serde_json::from_str(&topics).expect("topics");
    let made: Vec<_> = topics.iter().map(|topic| json!([topic["name"], topic["partitions"]])).collect();
    assert_eq!(made, [json!(["bad", 3]), json!(["errors", 3]), json!(["logs", 3])]);

    // Again, by the digest alone: the next version, without an upload.
    let digest = sent.module.to_string();
    let again = ["deploy", "errs", "--digest", &digest, "--topic", "logs", "--to", "errors"];
    assert_eq!(json_of(&broker, &again).await["version"], 2);
    let described = stdout(&plugin(&broker, &["describe", "errs"]).await);
    assert!(described.contains("\n2 (runs)  1970-01-01T00:00:00.000Z  "), "{described}");
    assert!(described.contains("\n0          running  2       5    3\n"), "{described}");

    let said = |output: Output| stdout(&output);
    let paused = said(plugin(&broker, &["pause", "errs"]).await);
    assert_eq!(paused, "paused 'errs': paused, version 2, 3 records behind\n");
    assert_eq!(json_of(&broker, &["resume", "errs"]).await["state"], "running");
    let rolled_back = said(plugin(&broker, &["rollback", "errs", "--to", "1"]).await);
    assert_eq!(rolled_back, "rolled back 'errs': running, version 1, 3 records behind\n");
    let replayed = said(plugin(&broker, &["replay", "errs", "--topic", "bad"]).await);
    assert_eq!(replayed, "replay 1 of 'bad' through 'errs' done\n");
    assert_eq!(json_of(&broker, &["describe", "errs"]).await["replay_partitions"], Value::Null);
    let begun = json_of(&broker, &["replay", "errs", "--topic", "bad", "--detach"]).await;
    assert_eq!(begun["replay_partitions"][0]["end_offset"], 3);

    let listed = said(plugin(&broker, &["list"]).await);
    assert!(
        listed.ends_with(&format!(
            "errs  transform  running  1        logs   errors   3    {}\n",
            &digest[..12]
        )),
        "{listed}"
    );
    assert_eq!(said(plugin(&broker, &["delete", "errs"]).await), "deleted deployment 'errs'\n");
    assert_eq!(json_of(&broker, &["list"]).await, json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_broker_refuses_is_told_in_its_words() {
    let broker = PluginBroker::start().await;
    for (arguments, message) in [
        (&["describe", "none"][..], "error: describe 'none': there is no deployment 'none'\n"),
        (&["pause", "none"], "error: pause 'none': there is no deployment 'none'\n"),
        (&["delete", "none"], "error: delete 'none': there is no deployment 'none'\n"),
        (&["replay", "none"], "error: replay through 'none': there is no deployment 'none'\n"),
    ] {
        assert_eq!(stderr(&plugin(&broker, arguments).await), message);
    }
    let digest = "0".repeat(64);
    let said = stderr(&plugin(&broker, &["deploy", "d", "--digest", &digest, "--topic", "t"]).await);
    assert!(said.contains(&format!("there is no module {digest}")), "{said}");
}
