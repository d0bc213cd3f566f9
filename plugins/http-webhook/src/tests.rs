//! The sink, natively, against a receiver in memory.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use millrace_plugin::Fault;
use millrace_plugin::http::{Error as HttpError, Request, Response};
use millrace_plugin::testing::{Input, Setup, host};

use crate::HttpWebhook;

const URL: &str = "https://hooks.example.com/in";

/// Answers with the statuses in order, and keeps the requests.
fn receiver(statuses: &[u16]) -> Rc<RefCell<Vec<Request>>> {
    let requests = Rc::new(RefCell::new(Vec::new()));
    let (kept, mut statuses) = (Rc::clone(&requests), statuses.to_vec().into_iter());
    host::on_request(move |request| {
        kept.borrow_mut().push(request.clone());
        match statuses.next() {
            Some(status) => Ok(Response { status, body: b"because".to_vec(), ..Response::default() }),
            None => Err(HttpError::Failed("connection refused".to_owned())),
        }
    });
    requests
}

fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn orders() -> Vec<Input> {
    vec![
        Input::value(r#"{"id":1}"#).key("c 1").timestamp_ms(1_772_431_200_020),
        Input::value("no json").timestamp_ms(1_772_431_200_021),
        Input::tombstone().key("c-3").timestamp_ms(1_772_431_200_022),
    ]
}

#[test]
fn a_batch_is_one_request() {
    let requests = receiver(&[202]);
    let setup = Setup::new().input("orders", 3).config("url", URL);
    setup.sink::<HttpWebhook>().expect("it starts").deliver(&orders(), "t-1").expect("delivered");
    let requests = requests.borrow();
    let [request] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", URL));
    assert_eq!(header(request, "content-type"), Some("application/cloudevents-batch+json"));
    assert_eq!(header(request, "idempotency-key"), Some("t-1"));
    let expected = concat!(
        r#"[{"specversion":"1.0","id":"orders-3-0","source":"/topics/orders/3","type":"millrace.record","#,
        r#""time":"2026-03-02T06:00:00.020Z","subject":"c 1","partitionkey":"c 1","#,
        r#""datacontenttype":"application/json","data":{"id":1}},"#,
        r#"{"specversion":"1.0","id":"orders-3-1","source":"/topics/orders/3","type":"millrace.record","#,
        r#""time":"2026-03-02T06:00:00.021Z","datacontenttype":"application/json","data_base64":"bm8ganNvbg=="},"#,
        r#"{"specversion":"1.0","id":"orders-3-2","source":"/topics/orders/3","type":"millrace.record","#,
        r#""time":"2026-03-02T06:00:00.022Z","subject":"c-3","partitionkey":"c-3"}]"#,
    );
    assert_eq!(str::from_utf8(&request.body), Ok(expected));
}

#[test]
fn binary_events_are_requests_of_their_own() {
    host::grant_secret("hook", "Bearer abc");
    let requests = receiver(&[200, 200, 200]);
    let setup =
        Setup::new().config("url", URL).config("mode", "binary").config("authorization-secret", "hook");
    setup.sink::<HttpWebhook>().expect("it starts").deliver(&orders(), "t").expect("delivered");
    let requests = requests.borrow();
    assert_eq!(requests.len(), 3);
    assert_eq!(requests[0].body, br#"{"id":1}"#);
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", "input-0-0"),
        ("ce-subject", "c%201"),
        ("content-type", "application/json"),
        ("authorization", "Bearer abc"),
        ("idempotency-key", "t.0"),
    ] {
        assert_eq!(header(&requests[0], name), Some(value), "{name}");
    }
    assert_eq!((header(&requests[2], "content-type"), requests[2].body.len()), (None, 0));
}

#[test]
fn structured_events_are_json() {
    let requests = receiver(&[200, 200, 200]);
    let setup =
        Setup::new().config("url", URL).config("mode", "structured").config("content-type", "text/plain");
    setup.sink::<HttpWebhook>().expect("it starts").deliver(&orders(), "t").expect("delivered");
    let body: serde_json::Value = serde_json::from_slice(&requests.borrow()[1].body).expect("JSON");
    assert_eq!((&body["data"], &body["datacontenttype"]), (&"no json".into(), &"text/plain".into()));
}

#[test]
fn statuses_decide_what_follows() {
    let faults = [
        (Fault::Record, &[400, 409, 413, 422][..]),
        // Every record would meet these. They counted as the record's, so that policies swallowed them.
        (Fault::Target, &[301, 401, 403, 404, 405, 410, 501]),
        (Fault::Retryable, &[408, 425, 429, 500, 502, 503]),
    ];
    for (fault, status) in
        faults.iter().flat_map(|(fault, all)| all.iter().map(move |status| (*fault, *status)))
    {
        receiver(&[status]);
        let mut sink = Setup::new().config("url", URL).sink::<HttpWebhook>().expect("it starts");
        let error = sink.deliver(&orders(), "t").expect_err("refused");
        assert_eq!(error.fault(), fault, "{status}: {error:?}");
        assert!(error.message().contains(&status.to_string()) && error.message().contains("because"));
        assert!(sink.deliver(&orders(), "t").expect_err("unreachable").is_retryable());
    }
}

#[test]
fn a_refusal_in_the_middle_says_what_arrived_and_a_retry_keeps_its_key() {
    let requests = receiver(&[200, 400, 200]);
    let mut sink =
        Setup::new().config("url", URL).config("mode", "binary").sink::<HttpWebhook>().expect("it starts");
    let error = sink.deliver(&orders(), "d.topic-3.0-2").expect_err("refused");
    assert_eq!((error.fault(), error.delivered_records()), (Fault::Record, 1));
    // What is left comes again as a smaller batch, whose token names its own offsets.
    sink.deliver(&orders()[..1], "d.topic-3.0-0").expect("delivered");
    let keys: Vec<_> = requests
        .borrow()
        .iter()
        .map(|request| header(request, "idempotency-key").map(str::to_owned))
        .collect();
    assert_eq!(keys, ["d.topic-3.0", "d.topic-3.1", "d.topic-3.0"].map(|key| Some(key.to_owned())));
}

#[test]
fn a_pause_that_is_asked_for_is_passed_on() {
    host::on_request(|_| {
        let headers = vec![("retry-after".to_owned(), b"7".to_vec())];
        Ok(Response { status: 429, headers, ..Response::default() })
    });
    let mut sink = Setup::new().config("url", URL).sink::<HttpWebhook>().expect("it starts");
    let error = sink.deliver(&orders(), "t").expect_err("refused");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
}

#[test]
fn keys_and_headers_become_attributes_that_are_allowed() {
    let requests = receiver(&[200; 4]);
    let records = [
        Input::value("1").key(""),
        Input::value("2")
            .key("a\u{0}b\r\nc%")
            .header("Order-Id", "7\n8")
            .header("id", "mine")
            .header("order_id", "second")
            .header("--", "nameless")
            .header("long", "x".repeat(9000)),
    ];
    let sink =
        |mode| Setup::new().config("url", URL).config("mode", mode).sink::<HttpWebhook>().expect("it starts");
    sink("binary").deliver(&records, "t").expect("delivered");
    sink("structured").deliver(&records, "t").expect("delivered");
    let requests = requests.borrow();
    assert_eq!((header(&requests[0], "ce-subject"), header(&requests[0], "ce-partitionkey")), (None, None));
    let of = |name| header(&requests[1], name);
    assert_eq!(of("ce-subject"), Some("a%2500b%250D%250Ac%25"));
    assert_eq!((of("ce-orderid"), of("ce-headerid"), of("ce-long")), (Some("7%250A8"), Some("mine"), None));
    assert_eq!(of("ce-id"), Some("input-0-1"));
    let body: serde_json::Value = serde_json::from_slice(&requests[2].body).expect("JSON");
    assert_eq!(body.get("subject"), None);
    let body: serde_json::Value = serde_json::from_slice(&requests[3].body).expect("JSON");
    assert_eq!((&body["subject"], &body["orderid"]), (&"a%00b%0D%0Ac%".into(), &"7%0A8".into()));
}

#[test]
fn settings_are_checked() {
    let start = |setup: Setup| setup.sink::<HttpWebhook>().map(drop).expect_err("refused").into_message();
    assert_eq!(start(Setup::new()), "the deployment lacks the setting `url`");
    assert!(start(Setup::new().config("url", "hooks.example.com")).contains("it has no scheme"));
    assert!(
        start(Setup::new().config("url", URL).config("mode", "x")).starts_with("the setting `mode` is `x`")
    );
    let unknown = Setup::new().config("url", URL).config("authorization-secret", "nobody");
    assert!(start(unknown).contains("`nobody` was not granted"));
}
