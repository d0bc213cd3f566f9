//! The sink, natively, against a cluster in memory.

use std::cell::RefCell;
use std::rc::Rc;

use millrace_plugin::http::{Request, Response};
use millrace_plugin::testing::{Input, Setup, host};
use millrace_plugin::{DeliveryError, Result};

use crate::ElasticsearchBulk;

fn cluster(answer: &'static str) -> Rc<RefCell<Vec<Request>>> {
    let requests = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&requests);
    host::on_request(move |request| {
        kept.borrow_mut().push(request.clone());
        Ok(Response { status: 200, body: answer.as_bytes().to_vec(), ..Response::default() })
    });
    requests
}

fn setup() -> Setup {
    Setup::new().input("orders", 2).config("url", "http://localhost:9200/")
}

fn deliver(setup: &Setup, records: &[Input]) -> Result<(), DeliveryError> {
    setup.sink::<ElasticsearchBulk>().expect("it starts").deliver(records, "t")
}

#[test]
fn documents_are_indexed_by_offset() {
    let requests = cluster(r#"{"errors":false,"items":[]}"#);
    let records =
        [Input::value("{\"a\":1,\n \"b\":\"\\n\"}"), Input::tombstone().key("k"), Input::value("{}")];
    deliver(&setup(), &records).expect("delivered");
    let requests = requests.borrow();
    assert_eq!(requests[0].url, "http://localhost:9200/_bulk");
    let expected = concat!(
        r#"{"index":{"_index":"orders","_id":"orders-2-0"}}"#,
        "\n{\"a\":1,  \"b\":\"\\n\"}\n",
        r#"{"index":{"_index":"orders","_id":"orders-2-2"}}"#,
        "\n{}\n",
    );
    assert_eq!(str::from_utf8(&requests[0].body), Ok(expected));
}

#[test]
fn documents_are_indexed_and_deleted_by_key() {
    let requests = cluster(
        r#"{"errors":true,"items":[{"index":{"_id":"a","status":201}},{"delete":{"_id":"b","status":404}}]}"#,
    );
    let setup = setup().config("id", "key").config("index", "shop");
    deliver(&setup, &[Input::value("{}").key("a"), Input::tombstone().key("b")]).expect("delivered");
    let expected = concat!(
        r#"{"index":{"_index":"shop","_id":"a"}}"#,
        "\n{}\n",
        r#"{"delete":{"_index":"shop","_id":"b"}}"#,
        "\n"
    );
    assert_eq!(str::from_utf8(&requests.borrow()[0].body), Ok(expected));
    assert!(!deliver(&setup, &[Input::value("{}")]).expect_err("no key").is_retryable());
}

#[test]
fn nothing_is_sent_for_nothing() {
    let requests = cluster("");
    deliver(&setup(), &[Input::tombstone()]).expect("delivered");
    assert!(requests.borrow().is_empty());
}

#[test]
fn what_arrived_before_the_first_failure_does_not_come_again() {
    let arrived = r#"{"index":{"_id":"a","status":201}}"#;
    let busy = r#"{"index":{"_id":"b","status":429}}"#;
    let refused = r#"{"index":{"_id":"c","status":400}}"#;
    // The second record is left out, so that the second action is for the third.
    let records = [Input::value("{}"), Input::tombstone(), Input::value("{}"), Input::value("{}")];
    for (items, retryable, delivered) in [
        ([arrived, arrived, refused], false, 3),
        ([arrived, busy, arrived], true, 2),
        ([busy, arrived, busy], true, 0),
        ([arrived, busy, refused], false, 2),
    ] {
        cluster(format!(r#"{{"errors":true,"items":[{}]}}"#, items.join(",")).leak());
        let error = deliver(&setup(), &records).expect_err("not all");
        assert_eq!((error.is_retryable(), error.delivered_records()), (retryable, delivered), "{items:?}");
    }
}

#[test]
fn answers_decide_what_follows() {
    let refused =
        r#"{"_id":"x","status":400,"error":{"type":"mapper_parsing_exception","reason":"no date"}}"#;
    let busy = r#"{"_id":"y","status":429,"error":{"type":"rejected","reason":"queue full"}}"#;
    let cases = [
        (format!(r#"{{"errors":true,"items":[{{"index":{busy}}}]}}"#), true, "queue full"),
        (
            format!(r#"{{"errors":true,"items":[{{"index":{busy}}},{{"index":{refused}}}]}}"#),
            false,
            "no date",
        ),
        ("<html>".to_owned(), true, "cannot be read"),
    ];
    for (answer, retryable, text) in cases {
        cluster(answer.leak());
        let error = deliver(&setup(), &[Input::value("{}")]).expect_err("refused");
        assert_eq!(error.is_retryable(), retryable, "{error:?}");
        assert!(error.message().contains(text), "{error:?}");
    }
    for value in ["[1]", "{", "text"] {
        let error = deliver(&setup(), &[Input::value("{}"), Input::value(value)]).expect_err("no document");
        assert!(!error.is_retryable() && error.message().starts_with("record at offset 1: "), "{error:?}");
    }
}
