//! Who is let in: so many requests at a time, and no web page but one of this broker's own.
//!
//! A browser tells in `Origin` which page a request comes from, always when it is not a mere GET. A page of
//! another host is refused. So is one whose host is a name other than `localhost`: whoever owns a name can
//! point it at this address after the page was loaded (DNS rebinding), and then both headers carry it.
//! Programs send no `Origin` and may use any name.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::refusal::Refusal;
use super::{Api, REQUESTS_MAX};

pub(super) async fn guard(State(api): State<Api>, request: Request, next: Next) -> Response {
    if let Err(refusal) = check_origin(request.headers()) {
        return refusal.into_response();
    }
    let Ok(_permit) = Arc::clone(&api.requests).try_acquire_owned() else {
        return Refusal::too_many("requests about plugins", REQUESTS_MAX).into_response();
    };
    next.run(request).await
}

fn check_origin(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let page = origin.split_once("://").map_or("", |(_, authority)| authority);
    if page.is_empty() || !page.eq_ignore_ascii_case(host) {
        return Err(Refusal::forbidden(format!(
            "the request comes from a page of '{origin}', not of '{host}': other pages may not manage plugins"
        )));
    }
    if !is_address(host) {
        return Err(Refusal::forbidden(format!(
            "a page may manage plugins by the broker's IP address or as localhost, not as '{host}': a name can be \
             pointed here by anybody"
        )));
    }
    Ok(())
}

/// Whether `authority` is an IP address or `localhost`, with or without a port.
fn is_address(authority: &str) -> bool {
    if let Some(bracketed) = authority.strip_prefix('[') {
        return bracketed.split_once(']').is_some_and(|(host, _)| host.parse::<Ipv6Addr>().is_ok());
    }
    let host = authority.split_once(':').map_or(authority, |(host, _)| host);
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_this_very_address_pass() {
        let check = |origin: Option<&'static str>, host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            check_origin(&headers).is_ok()
        };
        for (origin, host) in [
            (None, "broker.example:8080"),
            (Some("http://127.0.0.1:8080"), "127.0.0.1:8080"),
            (Some("https://[::1]:8080"), "[::1]:8080"),
            (Some("http://localhost:8080"), "LocalHost:8080"),
            (Some("http://10.0.0.7"), "10.0.0.7"),
        ] {
            assert!(check(origin, host), "{origin:?} {host}");
        }
        for (origin, host) in [
            ("http://evil.example", "127.0.0.1:8080"),
            ("http://127.0.0.1:9999", "127.0.0.1:8080"),
            ("null", "127.0.0.1:8080"),
            ("http://", ""),
            ("http://rebound.example:8080", "rebound.example:8080"),
            ("http://127.0.0.1.evil.example", "127.0.0.1.evil.example"),
            ("http://[evil]:8080", "[evil]:8080"),
        ] {
            assert!(!check(Some(origin), host), "{origin} {host}");
        }
    }
}
