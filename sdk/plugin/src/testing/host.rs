//! The host as plugins see it natively: arranged by a test, and open to its eyes.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::log::Level;
use crate::postgres::{Error as PostgresError, Upsert};

type PostgresAnswer = Box<dyn FnMut(&Upsert) -> Result<u64, PostgresError>>;
#[cfg(feature = "http")]
type HttpAnswer = Box<dyn FnMut(&crate::http::Request) -> Result<crate::http::Response, crate::http::Error>>;

#[derive(Default)]
struct Host {
    blocks: Vec<u8>,
    lines: Vec<(Level, String)>,
    secrets: BTreeMap<String, String>,
    postgres: Option<PostgresAnswer>,
    #[cfg(feature = "http")]
    http: Option<HttpAnswer>,
    #[cfg(feature = "http")]
    now_ms: i64,
}

thread_local! {
    static HOST: RefCell<Host> = RefCell::new(Host::default());
}

/// Grants a secret.
pub fn grant_secret(name: &str, value: &str) {
    HOST.with_borrow_mut(|host| host.secrets.insert(name.to_owned(), value.to_owned()));
}

/// Lets `answer` answer requests to databases.
pub fn on_upsert(answer: impl FnMut(&Upsert) -> Result<u64, PostgresError> + 'static) {
    HOST.with_borrow_mut(|host| host.postgres = Some(Box::new(answer)));
}

/// Lets `answer` answer HTTP requests.
#[cfg(feature = "http")]
pub fn on_request(
    answer: impl FnMut(&crate::http::Request) -> Result<crate::http::Response, crate::http::Error> + 'static,
) {
    HOST.with_borrow_mut(|host| host.http = Some(Box::new(answer)));
}

/// Sets the clock, in milliseconds since the Unix epoch.
#[cfg(feature = "http")]
pub fn set_now_ms(now_ms: i64) {
    HOST.with_borrow_mut(|host| host.now_ms = now_ms);
}

/// The lines that plugins wrote so far; they are told once.
pub fn take_log() -> Vec<(Level, String)> {
    HOST.with_borrow_mut(|host| std::mem::take(&mut host.lines))
}

pub(crate) mod output {
    use super::HOST;

    pub(crate) fn begin() {
        HOST.with_borrow_mut(|host| host.blocks.clear());
    }

    pub(crate) fn emit(blocks: &[u8]) {
        HOST.with_borrow_mut(|host| host.blocks.extend_from_slice(blocks));
    }

    pub(crate) fn take() -> Vec<u8> {
        HOST.with_borrow_mut(|host| std::mem::take(&mut host.blocks))
    }
}

pub(crate) mod log {
    use super::{HOST, Level};

    pub(crate) fn enabled(_: Level) -> bool {
        true
    }

    pub(crate) fn write(level: Level, message: &str) {
        HOST.with_borrow_mut(|host| host.lines.push((level, message.to_owned())));
    }
}

pub(crate) mod secrets {
    use super::HOST;

    pub(crate) fn get(name: &str) -> Option<String> {
        HOST.with_borrow(|host| host.secrets.get(name).cloned())
    }
}

pub(crate) mod postgres {
    use super::{HOST, PostgresError, Upsert};

    pub(crate) fn upsert(upsert: Upsert) -> Result<u64, PostgresError> {
        HOST.with_borrow_mut(|host| match &mut host.postgres {
            Some(answer) => answer(&upsert),
            None => Err(PostgresError::Target("no database was granted".to_owned())),
        })
    }
}

#[cfg(feature = "http")]
pub(crate) mod http {
    use super::HOST;
    use crate::http::{Error, Request, Response, split_url};

    pub(crate) fn send(request: &Request) -> Result<Response, Error> {
        split_url(&request.url)?;
        HOST.with_borrow_mut(|host| match &mut host.http {
            Some(answer) => answer(request),
            None => Err(Error::Refused("no host was granted".to_owned())),
        })
    }
}

#[cfg(feature = "http")]
pub(crate) mod clock {
    use super::HOST;

    pub(crate) fn now_ms() -> i64 {
        HOST.with_borrow(|host| host.now_ms)
    }
}
