//! Who is let in: so many requests at a time, and no web page but one of this broker's own.
//!
//! A browser tells in `Host` which name its page has called. A page of any host can have its name point at this
//! address after it was loaded (DNS rebinding), and is then, for the browser, one of this broker's own. So the broker is
//! managed only by what nobody else can point here: an address, `localhost`, or a name of its own. `Origin`, which
//! browsers send except with a mere GET, must not be of another host.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::refusal::Refusal;
use super::{Api, REQUESTS_MAX};

pub(super) async fn guard(State(api): State<Api>, request: Request, next: Next) -> Response {
    if let Err(refusal) = check_host(request.headers(), &api.names) {
        return refusal.into_response();
    }
    let Ok(_permit) = Arc::clone(&api.requests).try_acquire_owned() else {
        return Refusal::too_many("requests about plugins", REQUESTS_MAX).into_response();
    };
    next.run(request).await
}

/// `names` are the broker's own.
fn check_host(headers: &HeaderMap, names: &[String]) -> Result<(), Refusal> {
    // Browsers always send it.
    let Some(host) = headers.get(header::HOST) else { return Ok(()) };
    let host = host.to_str().unwrap_or_default();
    if !is_own(host, names) {
        return Err(Refusal::forbidden(format!(
            "plugins are managed by the broker's IP address, as localhost, or by a name that listen.advertised_host or \
             tls.names gives it, not as '{host}': another name can be pointed here by anybody"
        )));
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let page = origin.split_once("://").map_or("", |(_, authority)| authority);
    if page.eq_ignore_ascii_case(host) {
        return Ok(());
    }
    Err(Refusal::forbidden(format!(
        "the request comes from a page of '{origin}', not of '{host}': other pages may not manage plugins"
    )))
}

/// Whether `authority`, with or without a port, is an IP address, `localhost` or one of `names`.
fn is_own(authority: &str, names: &[String]) -> bool {
    if let Some(bracketed) = authority.strip_prefix('[') {
        return bracketed.split_once(']').is_some_and(|(host, _)| host.parse::<Ipv6Addr>().is_ok());
    }
    let host = authority.split_once(':').map_or(authority, |(host, _)| host);
    host.parse::<IpAddr>().is_ok()
        || names.iter().map(String::as_str).chain(["localhost"]).any(|name| host.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_calls_the_broker_by_its_own_name_passes() {
        let check = |origin: Option<&'static str>, host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            check_host(&headers, &["broker.example".to_owned()]).is_ok()
        };
        for (origin, host) in [
            (None, "127.0.0.1:8080"),
            (None, "[::1]:8080"),
            (None, "localhost"),
            (None, "Broker.Example:8080"),
            (Some("http://127.0.0.1:8080"), "127.0.0.1:8080"),
            (Some("https://[::1]:8080"), "[::1]:8080"),
            (Some("http://localhost:8080"), "LocalHost:8080"),
            (Some("http://broker.example"), "broker.example"),
            (Some("http://10.0.0.7"), "10.0.0.7"),
        ] {
            assert!(check(origin, host), "{origin:?} {host}");
        }
        for (origin, host) in [
            // Requests without an origin passed by whatever name, and any page's GET has none.
            (None, "rebound.example:8080"),
            (None, ""),
            (Some("http://evil.example"), "127.0.0.1:8080"),
            (Some("http://127.0.0.1:9999"), "127.0.0.1:8080"),
            (Some("null"), "127.0.0.1:8080"),
            (Some("http://"), ""),
            (Some("http://rebound.example:8080"), "rebound.example:8080"),
            (Some("http://127.0.0.1.evil.example"), "127.0.0.1.evil.example"),
            (Some("http://[evil]:8080"), "[evil]:8080"),
        ] {
            assert!(!check(origin, host), "{origin:?} {host}");
        }
        assert!(check_host(&HeaderMap::new(), &[]).is_ok(), "no browser");
    }
}
