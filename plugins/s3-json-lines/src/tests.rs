//! The sink, natively, against storage in memory.

use std::cell::RefCell;
use std::rc::Rc;

use millrace_plugin::Fault;
use millrace_plugin::http::{Request, Response};
use millrace_plugin::testing::{Input, Setup, host};

use crate::S3JsonLines;
use crate::sign::{Signer, path};

/// 2013-05-24T00:00:00Z, as in AWS's examples.
const EXAMPLE_MS: i64 = 1_369_353_600_000;

fn storage(status: u16) -> Rc<RefCell<Vec<Request>>> {
    host::grant_secret("s3-access-key", "AKIAIOSFODNN7EXAMPLE");
    host::grant_secret("s3-secret-key", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    host::set_now_ms(EXAMPLE_MS);
    let requests = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&requests);
    host::on_request(move |request| {
        kept.borrow_mut().push(request.clone());
        Ok(Response { status, ..Response::default() })
    });
    requests
}

fn setup() -> Setup {
    Setup::new().input("orders", 7).config("endpoint", "http://localhost:9000").config("bucket", "events")
}

/// "Example: PUT Object" of the S3 reference's page on signatures in headers.
#[test]
fn signatures_are_those_of_the_reference() {
    let signer = Signer {
        host: "examplebucket.s3.amazonaws.com".to_owned(),
        region: "us-east-1".to_owned(),
        access_key: "AKIAIOSFODNN7EXAMPLE".to_owned(),
        secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
    };
    let request = Request::put("https://examplebucket.s3.amazonaws.com/test%24file.text")
        .header("Date", "Fri, 24 May 2013 00:00:00 GMT")
        .header("x-amz-storage-class", "REDUCED_REDUNDANCY")
        .body("Welcome to Amazon S3.");
    let signed = signer.sign(request, "/test%24file.text", EXAMPLE_MS);
    let (_, authorization) = signed.headers.last().expect("it is signed");
    let expected = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
                    SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,\
                    Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd";
    assert_eq!(authorization, expected);
}

#[test]
fn paths_are_encoded() {
    assert_eq!(path("b", "a b/ü$.jsonl"), "/b/a%20b/%C3%BC%24.jsonl");
}

#[test]
fn a_batch_becomes_an_object() {
    let requests = storage(200);
    let records = [
        Input::value("{\"a\": 1}").key("k").header("h", "v").timestamp_ms(5),
        Input::value([0xff]).timestamp_ms(6),
        Input::value("plain").timestamp_ms(7),
        Input::tombstone().key("k").timestamp_ms(8),
    ];
    let mut sink = setup().config("prefix", "raw/").sink::<S3JsonLines>().expect("it starts");
    sink.deliver(&records, "t").expect("delivered");
    sink.deliver(&[], "t").expect("nothing to deliver");
    let requests = requests.borrow();
    let [request] = requests.as_slice() else { panic!("{requests:?}") };
    let key = "raw/orders/7/00000000000000000000-00000000000000000003.jsonl";
    assert_eq!(
        (request.method.as_str(), request.url.clone()),
        ("PUT", format!("http://localhost:9000/events/{key}"))
    );
    let expected = concat!(
        r#"{"offset":0,"timestamp":5,"key":"k","headers":[["h","v"]],"value":{"a": 1}}"#,
        "\n",
        r#"{"offset":1,"timestamp":6,"value_base64":"/w=="}"#,
        "\n",
        r#"{"offset":2,"timestamp":7,"value_text":"plain"}"#,
        "\n",
        r#"{"offset":3,"timestamp":8,"key":"k"}"#,
        "\n",
    );
    assert_eq!(str::from_utf8(&request.body), Ok(expected));
}

#[test]
fn values_alone_must_be_json() {
    let requests = storage(200);
    let mut sink = setup().config("format", "value").sink::<S3JsonLines>().expect("it starts");
    sink.deliver(&[Input::value("{\n\"a\":1}"), Input::tombstone(), Input::value("3")], "t")
        .expect("delivered");
    assert_eq!(requests.borrow()[0].body, b"{ \"a\":1}\nnull\n3\n");
    let error = sink.deliver(&[Input::value("1"), Input::value("x")], "t").expect_err("no JSON");
    assert!(!error.is_retryable() && error.message().starts_with("record at offset 1: "), "{error:?}");
}

#[test]
fn storage_decides_what_follows() {
    for (status, fault) in [(403, Fault::Target), (404, Fault::Target), (503, Fault::Retryable)] {
        storage(status);
        let mut sink = setup().sink::<S3JsonLines>().expect("it starts");
        assert_eq!(sink.deliver(&[Input::value("1")], "t").expect_err("refused").fault(), fault);
    }
}

#[test]
fn settings_are_checked() {
    let start = |setup: Setup| setup.sink::<S3JsonLines>().map(drop).expect_err("refused").into_message();
    assert!(start(setup()).contains("`s3-access-key` was not granted"));
    storage(200);
    assert!(start(setup().config("endpoint", "http://a/b")).contains("expected no path"));
    assert!(start(setup().config("format", "csv")).contains("`csv`; expected `value` or `record`"));
}
