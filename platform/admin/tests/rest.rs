//! Plugins over a real HTTP connection: what reaches the service, and what is refused before it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use millrace_admin::{AdminLimits, AdminOptions, AdminServer, Readiness, serve};
use millrace_protocol::plugins::{
    Definition, DeploymentState, Description, ErrorKind, FailurePolicy, GrantDefinitions, Kind,
    LimitOverrides, LogLevel, ManageReply, ManageRequest, ModuleChunk, ModuleDigest, ModuleInfo,
    PartitionRecords, PluginError, PluginService, StartPosition, UploadReply,
};
use prometheus::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Longer than anything here takes, so that what hangs fails.
const BOUND: Duration = Duration::from_secs(20);

/// Answers as told, and keeps what it was asked.
struct Fake {
    asked: Mutex<Vec<ManageRequest>>,
    answers: Mutex<VecDeque<Result<ManageReply, PluginError>>>,
    stored: Mutex<BTreeMap<ModuleDigest, Vec<u8>>>,
    /// Each answer takes a permit.
    gate: Semaphore,
}

impl PluginService for Fake {
    fn manage(&self, request: ManageRequest) -> BoxFuture<'_, Result<ManageReply, PluginError>> {
        async move {
            self.asked.lock().unwrap().push(request);
            self.gate.acquire().await.unwrap().forget();
            self.answers.lock().unwrap().pop_front().unwrap()
        }
        .boxed()
    }

    fn upload(&self, chunk: ModuleChunk) -> BoxFuture<'_, Result<UploadReply, PluginError>> {
        assert!(chunk.bytes.len() <= 1 << 20, "a piece of {} bytes", chunk.bytes.len());
        let mut stored = self.stored.lock().unwrap();
        let module = stored.entry(chunk.module).or_default();
        if !chunk.bytes.is_empty() {
            assert_eq!(chunk.offset, module.len() as u64);
        }
        module.extend_from_slice(&chunk.bytes);
        let reply = if module.len() as u64 == chunk.total {
            UploadReply::Stored(info(chunk.module, chunk.total))
        } else {
            UploadReply::Continue { offset: module.len() as u64 }
        };
        async move { Ok(reply) }.boxed()
    }

    fn partition(&self, _: PartitionRecords) -> BoxFuture<'_, Result<Vec<u32>, PluginError>> {
        async { Err(PluginError::invalid("not over HTTP")) }.boxed()
    }

    fn partitioner(&self, _: &str) -> Option<String> {
        None
    }
}

fn info(digest: ModuleDigest, size_bytes: u64) -> ModuleInfo {
    ModuleInfo {
        digest,
        kind: Kind::Transform,
        contract: None,
        requests: Vec::new(),
        imports: Vec::new(),
        exports: Vec::new(),
        size_bytes,
        is_core_module: true,
    }
}

fn definition() -> Definition {
    Definition {
        module: ModuleDigest::of(b"m"),
        kind: Kind::Transform,
        topic: "in".into(),
        outputs: vec!["out".into()],
        start: StartPosition::default(),
        failure: FailurePolicy::default(),
        config: BTreeMap::new(),
        grants: GrantDefinitions::default(),
        limits: LimitOverrides::default(),
        log_level: LogLevel::default(),
    }
}

fn description() -> Description {
    Description {
        name: "clean".into(),
        state: DeploymentState::Running,
        version: 1,
        created_ms: 7,
        group: "millrace.plugin.clean".into(),
        definition: definition(),
        versions: Vec::new(),
        partitions: Vec::new(),
        replay: None,
        replay_partitions: Vec::new(),
    }
}

async fn start(plugins: Option<Arc<dyn PluginService>>) -> AdminServer {
    let readiness = Arc::new(|| Readiness::Ready);
    let options = AdminOptions {
        registry: Registry::new(),
        readiness,
        plugins,
        names: Vec::new(),
        limits: AdminLimits::default(),
    };
    serve("127.0.0.1:0".parse().unwrap(), options).await.unwrap()
}

async fn start_with(answers: Vec<Result<ManageReply, PluginError>>) -> (AdminServer, Arc<Fake>) {
    let fake = Arc::new(Fake {
        asked: Mutex::default(),
        gate: Semaphore::new(answers.len()),
        answers: Mutex::new(answers.into()),
        stored: Mutex::default(),
    });
    (start(Some(fake.clone())).await, fake)
}

/// Sends the request with these headers and body, and returns the answer's status and body.
async fn exchange(server: &AdminServer, line: &str, headers: &str, body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let head = format!(
        "{line} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        server.local_addr(),
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // A refusal may come before the body is through.
    let _ = stream.write_all(body).await;
    read_answer(stream).await
}

async fn read_answer(mut stream: TcpStream) -> (u16, String) {
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(BOUND, reading).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

const JSON: &str = "Content-Type: application/json\r\n";

#[tokio::test]
async fn each_route_asks_the_service_its_own_question() {
    let deployment = || Ok(ManageReply::Deployment(Box::new(description())));
    let module = ModuleDigest::of(b"m");
    let json = serde_json::to_vec(&definition()).unwrap();
    let (name, definition) = ("clean".to_owned(), Box::new(definition()));
    let deploy = |validate_only| ManageRequest::Deploy {
        name: "clean".into(),
        definition: definition.clone(),
        validate_only,
    };
    let inspect = format!("GET /v1/modules/{module}");
    let cases: [(&str, &[u8], ManageRequest); 12] = [
        ("GET /v1/plugins/clean", b"", ManageRequest::Describe { name: name.clone() }),
        ("PUT /v1/plugins/clean", &json, deploy(false)),
        ("PUT /v1/plugins/clean?validate_only=true", &json, deploy(true)),
        ("POST /v1/plugins/clean/pause", b"", ManageRequest::Pause { name: name.clone() }),
        ("POST /v1/plugins/clean/resume", b"", ManageRequest::Resume { name: name.clone() }),
        (
            "POST /v1/plugins/clean/rollback",
            b"",
            ManageRequest::Rollback { name: name.clone(), version: None },
        ),
        (
            "POST /v1/plugins/clean/rollback",
            b"{\"version\":3}",
            ManageRequest::Rollback { name: name.clone(), version: Some(3) },
        ),
        ("POST /v1/plugins/clean/replay", b"{}", ManageRequest::Replay { name: name.clone(), topic: None }),
        (
            "POST /v1/plugins/clean/replay",
            b"{\"topic\":\"dead\"}",
            ManageRequest::Replay { name: name.clone(), topic: Some("dead".into()) },
        ),
        ("GET /v1/plugins", b"", ManageRequest::List),
        (&inspect, b"", ManageRequest::Inspect { module }),
        ("DELETE /v1/plugins/clean", b"", ManageRequest::Delete { name: name.clone() }),
    ];
    let mut answers: Vec<_> = (0..9).map(|_| deployment()).collect();
    answers.extend([
        Ok(ManageReply::Deployments(Vec::new())),
        Ok(ManageReply::Module(info(module, 1))),
        Ok(ManageReply::Deleted),
    ]);
    let (server, fake) = start_with(answers).await;
    let described = serde_json::to_string(&description()).unwrap();
    let module_info = serde_json::to_string(&info(module, 1)).unwrap();
    for (line, body, expected) in cases {
        let headers = if body.is_empty() { "" } else { JSON };
        let answer = exchange(&server, line, headers, body).await;
        assert_eq!(fake.asked.lock().unwrap().last(), Some(&expected), "{line}");
        let expected = match expected {
            ManageRequest::List => (200, "[]".to_owned()),
            ManageRequest::Inspect { .. } => (200, module_info.clone()),
            ManageRequest::Delete { .. } => (204, String::new()),
            _ => (200, described.clone()),
        };
        assert_eq!(answer, expected, "{line}");
    }
}

#[tokio::test]
async fn refusals_have_the_status_that_fits_and_the_services_message() {
    let kinds = [
        (ErrorKind::Invalid, 400),
        (ErrorKind::NotFound, 404),
        (ErrorKind::Conflict, 409),
        (ErrorKind::Failed, 422),
        (ErrorKind::Unavailable, 503),
    ];
    let answers = kinds.map(|(kind, _)| Err(PluginError::new(kind, format!("it is \"{kind:?}\""))));
    let (server, _) = start_with(answers.into()).await;
    for (kind, status) in kinds {
        let (found, body) = exchange(&server, "GET /v1/plugins", "", b"").await;
        assert_eq!((found, body), (status, format!("{{\"error\":\"it is \\\"{kind:?}\\\"\"}}")));
    }
}

#[tokio::test]
async fn what_is_wrong_in_itself_never_reaches_the_service() {
    let (server, fake) = start_with(Vec::new()).await;
    let json = serde_json::to_vec(&definition()).unwrap();
    let unknown = String::from_utf8(json.clone()).unwrap().replacen("\"topic\"", "\"colour\":1,\"topic\"", 1);
    let here = server.local_addr();
    let rebound = format!("{JSON}Origin: http://{here}x\r\n");
    let cases: [(&str, &str, &[u8], u16, &str); 11] = [
        ("PUT /v1/plugins/a", JSON, b"{", 400, "not the JSON"),
        ("PUT /v1/plugins/a", JSON, unknown.as_bytes(), 400, "colour"),
        ("PUT /v1/plugins/a?validate_olny=true", JSON, &json, 400, "validate_olny"),
        ("PUT /v1/plugins/a", "", &json, 415, "content-type: application/json"),
        ("PUT /v1/plugins/a", "Content-Type: text/plain\r\n", &json, 415, "text/plain"),
        ("POST /v1/plugins/a/rollback", JSON, b"{\"verison\":1}", 400, "verison"),
        ("POST /v1/modules", JSON, b"wasm", 415, "application/wasm"),
        ("GET /v1/modules/abc", "", b"", 400, "64 hexadecimal digits"),
        ("PATCH /v1/plugins/a", "", b"", 405, "PATCH"),
        ("DELETE /v1/plugins/a", "Origin: http://evil.example\r\n", b"", 403, "evil.example"),
        ("PUT /v1/plugins/a", &rebound, &json, 403, "other pages"),
    ];
    for (line, headers, body, status, message) in cases {
        let (found, answer) = exchange(&server, line, headers, body).await;
        assert_eq!(found, status, "{line}: {answer}");
        assert!(answer.starts_with("{\"error\":\"") && answer.contains(message), "{line}: {answer}");
    }
    assert_eq!(fake.asked.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn a_page_of_this_address_is_let_in() {
    let (server, _) = start_with(vec![Ok(ManageReply::Deleted)]).await;
    let headers = format!("Origin: http://{}\r\n", server.local_addr());
    assert_eq!(exchange(&server, "DELETE /v1/plugins/a", &headers, b"").await.0, 204);
}

#[tokio::test]
async fn without_a_service_plugins_are_refused_and_probes_are_not() {
    let server = start(None).await;
    for line in ["GET /v1/plugins", "POST /v1/modules", "DELETE /v1/plugins/a"] {
        let (status, body) = exchange(&server, line, "", b"").await;
        assert_eq!(status, 503, "{line}");
        assert!(body.contains("plugins are not served by this broker"), "{body}");
    }
    assert_eq!(exchange(&server, "GET /readyz", "", b"").await.0, 200);
}

#[tokio::test]
async fn a_module_is_handed_over_in_pieces() {
    let (server, fake) = start_with(Vec::new()).await;
    let module: Vec<u8> = (0..5_u32 << 19).map(|index| (index % 251) as u8).collect();
    let wasm = "Content-Type: application/wasm\r\n";
    let (status, body) = exchange(&server, "POST /v1/modules", wasm, &module).await;
    assert_eq!(status, 201, "{body}");
    let digest = ModuleDigest::of(&module);
    assert_eq!(serde_json::from_str::<ModuleInfo>(&body).unwrap(), info(digest, module.len() as u64));
    assert_eq!(fake.stored.lock().unwrap()[&digest], module);
    assert_eq!(exchange(&server, "POST /v1/modules", wasm, b"").await.0, 400);
}

/// A page whose name was pointed here after it was loaded sends no origin with a GET.
#[tokio::test]
async fn a_foreign_name_is_refused_with_every_method() {
    let (server, fake) = start_with(Vec::new()).await;
    for method in ["GET", "POST", "PUT", "DELETE"] {
        let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
        let head = format!(
            "{method} /v1/plugins/a HTTP/1.1\r\nHost: rebound.example\r\nConnection: close\r\n\
             Content-Length: 0\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let (status, body) = read_answer(stream).await;
        assert_eq!(status, 403, "{method}: {body}");
        assert!(body.contains("not as 'rebound.example'"), "{body}");
    }
    assert_eq!(fake.asked.lock().unwrap().len(), 0);
}

/// Announced or not, a body ends at the limit.
#[tokio::test]
async fn bodies_are_bounded() {
    let (server, fake) = start_with(Vec::new()).await;
    for (line, headers, limit) in [
        ("POST /v1/modules", "Content-Type: application/wasm\r\n", 64 << 20),
        ("PUT /v1/plugins/a", JSON, 1 << 20),
    ] {
        let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
        let head =
            format!("{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{headers}\r\n", limit + 1);
        stream.write_all(head.as_bytes()).await.unwrap();
        let (status, body) = read_answer(stream).await;
        assert_eq!(status, 413, "{line}");
        assert!(body.contains(&format!("limit of {limit} bytes")), "{body}");
    }
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let head =
        format!("PUT /v1/plugins/a HTTP/1.1\r\nHost: localhost\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let piece = format!("{:x}\r\n{}\r\n", 1 << 20, " ".repeat(1 << 20));
    stream.write_all(piece.as_bytes()).await.unwrap();
    stream.write_all(b"1\r\n \r\n").await.unwrap();
    assert_eq!(read_answer(stream).await.0, 413);
    assert_eq!(fake.asked.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn uploads_and_requests_at_a_time_are_bounded_and_probes_go_on() {
    let (server, fake) = start_with(Vec::new()).await;
    let mut uploads = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
        let head = "POST /v1/modules HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/wasm\r\n\
                    Content-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        // Says that the handler has begun to read the body.
        let mut go_on = [0; 25];
        tokio::time::timeout(BOUND, stream.read_exact(&mut go_on)).await.unwrap().unwrap();
        assert!(go_on.starts_with(b"HTTP/1.1 100 Continue"));
        uploads.push(stream);
    }
    let wasm = "Content-Type: application/wasm\r\n";
    let (status, body) = exchange(&server, "POST /v1/modules", wasm, b"ab").await;
    assert_eq!(status, 429, "{body}");
    assert!(body.contains("4 uploads of modules are under way"), "{body}");

    let mut waiting = Vec::new();
    for _ in 0..60 {
        let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
        stream
            .write_all(b"GET /v1/plugins HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        waiting.push(stream);
    }
    let all_asked = async {
        while fake.asked.lock().unwrap().len() < 60 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(BOUND, all_asked).await.unwrap();
    assert_eq!(exchange(&server, "GET /v1/plugins", "", b"").await.0, 429);
    assert_eq!(exchange(&server, "GET /healthz", "", b"").await.0, 200);
    assert_eq!(exchange(&server, "GET /readyz", "", b"").await.0, 200);

    for (number, mut stream) in (10..14).zip(uploads) {
        stream.write_all(number.to_string().as_bytes()).await.unwrap();
        assert_eq!(read_answer(stream).await.0, 201);
    }
    let answers = (0..60).map(|_| Ok(ManageReply::Deployments(Vec::new())));
    fake.answers.lock().unwrap().extend(answers);
    fake.gate.add_permits(60);
    for stream in waiting {
        assert_eq!(read_answer(stream).await.0, 200);
    }
    assert_eq!(exchange(&server, "POST /v1/modules", wasm, b"ab").await.0, 201, "there is room again");
}
