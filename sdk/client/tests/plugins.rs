//! Administration of plugins over the private requests.

mod loopback;

use bytes::Bytes;
use loopback::Loopback;
use loopback::plugins::module_info;
use millrace_client::plugins::{ErrorKind, ModuleDigest, PluginError};
use millrace_client::{Client, RequestError, Transport};
use millrace_protocol::plugins::{ManageReply, ManageRequest};

async fn start() -> (Loopback, Client) {
    let broker = Loopback::start(1).await;
    let builder = Client::builder().bootstrap(&broker.address).transport(Transport::Tcp);
    let client = builder.connect().await.unwrap();
    (broker, client)
}

/// Two and a half chunks.
fn module() -> Bytes {
    (0..5 << 19).map(|index: u32| (index % 251) as u8).collect::<Vec<_>>().into()
}

#[tokio::test]
async fn a_module_goes_over_in_chunks_and_only_once() {
    let (broker, client) = start().await;
    let mut steps = Vec::new();
    let info = client.plugins().upload(module(), |sent, total| steps.push((sent, total))).await.unwrap();
    let total = module().len() as u64;
    assert_eq!(info, module_info(ModuleDigest::of(&module()), total));
    assert_eq!(steps, [(0, total), (1 << 20, total), (2 << 20, total), (total, total)]);
    assert_eq!(broker.state.lock().plugins.modules[&info.digest], module());
    let chunks = broker.state.lock().plugins.chunks;
    client.plugins().upload(module(), |_, _| ()).await.unwrap();
    assert_eq!(broker.state.lock().plugins.chunks, chunks + 1, "the first request says that it is there");
}

#[tokio::test]
async fn an_upload_goes_on_from_where_the_broker_says() {
    let (broker, client) = start().await;
    broker.state.lock().plugins.forget_at = Some(3);
    let info = client.plugins().upload(module(), |_, _| ()).await.unwrap();
    assert_eq!(broker.state.lock().plugins.modules[&info.digest], module());
}

#[tokio::test]
async fn requests_are_sent_and_refusals_shown_as_they_are() {
    let (broker, client) = start().await;
    let refusal = PluginError::not_found("there is no deployment 'a'; `plugin list` shows those there are");
    let busy = PluginError::unavailable("the controller is being elected");
    broker.state.lock().plugins.replies.extend([
        Ok(ManageReply::Deployments(Vec::new())),
        Ok(ManageReply::Deleted),
        Err(refusal.clone()),
        Err(busy),
        Ok(ManageReply::Deleted),
    ]);
    let plugins = client.plugins();
    assert_eq!(plugins.list().await.unwrap(), []);
    plugins.delete("a").await.unwrap();
    let error = plugins.rollback("a", Some(3)).await.unwrap_err();
    assert!(matches!(&error, RequestError::Plugin(PluginError { kind: ErrorKind::NotFound, .. })));
    assert_eq!((error.to_string(), error.is_retriable()), (refusal.message, false));
    assert!(plugins.pause("a").await.unwrap_err().is_retriable());
    let error = plugins.describe("a").await.unwrap_err().to_string();
    assert!(error.contains("ManagePlugins") && error.contains("another kind of request"), "{error}");
    let name = "a".to_owned();
    assert_eq!(
        broker.state.lock().plugins.managed,
        [
            ManageRequest::List,
            ManageRequest::Delete { name: name.clone() },
            ManageRequest::Rollback { name: name.clone(), version: Some(3) },
            ManageRequest::Pause { name: name.clone() },
            ManageRequest::Describe { name },
        ]
    );
}

#[tokio::test]
async fn a_broker_without_plugins_is_named() {
    let (broker, client) = start().await;
    broker.state.lock().plugins.absent = true;
    let error = client.plugins().list().await.unwrap_err().to_string();
    assert!(error.contains(&broker.address) && error.contains("may not serve plugins"), "{error}");
}
