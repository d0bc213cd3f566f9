//! The sink, natively, against a database in memory.

use std::cell::RefCell;
use std::rc::Rc;

use millrace_plugin::postgres::{Error as PostgresError, Upsert, Value};
use millrace_plugin::testing::{Input, Setup, host};

use crate::PostgresUpsert;

fn database() -> Rc<RefCell<Vec<Upsert>>> {
    let upserts = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&upserts);
    host::on_upsert(move |upsert| {
        kept.borrow_mut().push(upsert.clone());
        Ok(upsert.rows.len() as u64)
    });
    upserts
}

fn setup(columns: &str) -> Setup {
    Setup::new().config("table", "shop.orders").config("columns", columns)
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[test]
fn records_become_rows() {
    let upserts = database();
    let columns = "id:text, who:text=customer.name, total:int=@header.total, paid:boolean, weight:float, \
                   at:timestamp=@timestamp, position:int=@offset, k:text=@key, raw:json=@value, part:json=customer";
    let value = r#"{"id":"o-1","customer":{"name":"Ann"},"paid":true,"weight":2.5}"#;
    let records = [
        Input::value(value).key("k").header("total", "120").timestamp_ms(9),
        Input::value(r#"{"id":7}"#).timestamp_ms(10),
        Input::tombstone(),
    ];
    let setup = setup(columns).config("key", "id").config("database", "shop");
    setup.sink::<PostgresUpsert>().expect("it starts").deliver(&records, "t").expect("delivered");
    let upserts = upserts.borrow();
    let [upsert] = upserts.as_slice() else { panic!("{upserts:?}") };
    assert_eq!((upsert.database.as_str(), upsert.table.as_str()), ("shop", "shop.orders"));
    assert_eq!(
        upsert.columns,
        ["id", "who", "total", "paid", "weight", "at", "position", "k", "raw", "part"]
    );
    assert_eq!(upsert.key, ["id"]);
    let first = vec![
        text("o-1"),
        text("Ann"),
        Value::Int(120),
        Value::Boolean(true),
        Value::Number("2.5".to_owned()),
        Value::Timestamp(9),
        Value::Int(0),
        text("k"),
        Value::Json(value.to_owned()),
        Value::Json(r#"{"name":"Ann"}"#.to_owned()),
    ];
    assert_eq!(upsert.rows[0], first);
    assert_eq!(upsert.rows[1][..3], [text("7"), Value::Null, Value::Null]);
    assert_eq!(upsert.rows.len(), 2);
}

#[test]
fn the_last_record_of_a_key_counts() {
    let upserts = database();
    let records = [r#"{"id":1,"n":1}"#, r#"{"id":2,"n":2}"#, r#"{"id":1,"n":3}"#].map(Input::value);
    let sink = |key| setup("id:int, n:int").config("key", key).sink::<PostgresUpsert>().expect("it starts");
    sink("id").deliver(&records, "t").expect("delivered");
    sink("").deliver(&records, "t").expect("delivered");
    let upserts = upserts.borrow();
    assert_eq!(upserts[0].rows, [[Value::Int(1), Value::Int(3)], [Value::Int(2), Value::Int(2)]]);
    assert_eq!(upserts[1].rows.len(), 3);
}

#[test]
fn numbers_keep_every_digit() {
    let upserts = database();
    let columns =
        "big:int, price:float=line.price, text:text=line.price, raw:json=line, header:float=@header.h";
    let records =
        [Input::value(r#"{"big": 12345678901234567890123456789, "line": {"price": 19.990000000000000001}}"#)
            .header("h", "1e-30")];
    setup(columns).sink::<PostgresUpsert>().expect("it starts").deliver(&records, "t").expect("delivered");
    let number = |text: &str| Value::Number(text.to_owned());
    let expected = [
        number("12345678901234567890123456789"),
        number("19.990000000000000001"),
        text("19.990000000000000001"),
        Value::Json(r#"{"price": 19.990000000000000001}"#.to_owned()),
        number("1e-30"),
    ];
    assert_eq!(upserts.borrow()[0].rows, [expected]);
    for wrong in [r#"{"big": 1.5}"#, r#"{"big": true}"#, r#"{"big": 1, "line": {"price": "1"}}"#] {
        let error =
            setup(columns).sink::<PostgresUpsert>().expect("it starts").deliver(&[Input::value(wrong)], "t");
        assert!(error.expect_err(wrong).message().contains("is no "), "{wrong}");
    }
}

#[test]
fn what_does_not_fit_is_the_record_s_fault() {
    database();
    let mut sink = setup("id:int").config("tombstones", "fail").sink::<PostgresUpsert>().expect("it starts");
    for (record, reason) in [
        (Input::value(r#"{"id":"x"}"#), "what it has for column `id` is no int"),
        (Input::value("no json"), "expected ident"),
        (Input::tombstone(), "it is a tombstone"),
    ] {
        let error = sink.deliver(&[Input::value("{}"), record], "t").expect_err(reason);
        assert!(!error.is_retryable() && error.message().starts_with("record at offset 1: "), "{error:?}");
        assert!(error.message().contains(reason), "{error:?}");
    }
    host::on_upsert(|_| Err(PostgresError::Unavailable("connection refused".to_owned())));
    assert!(sink.deliver(&[Input::value("{}")], "t").expect_err("unreachable").is_retryable());
}

#[test]
fn settings_are_checked() {
    let start = |setup: Setup| setup.sink::<PostgresUpsert>().map(drop).expect_err("refused").into_message();
    for wrong in ["id", "id:uuid", "id:int=@nothing", "id:int="] {
        assert!(start(setup(wrong)).contains(&format!("has `{wrong}`")), "{wrong}");
    }
    assert!(start(setup("id:int").config("key", "ident")).contains("`ident`, which is no column"));
    assert!(start(Setup::new().config("columns", "id:int")).contains("lacks the setting `table`"));
}
