//! Requests over `wasi:http`.

use std::time::Duration;

use wasip2::clocks::monotonic_clock;
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest, RequestOptions,
    Scheme,
};
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::{OutputStream, StreamError};

use super::{Error, Request, Response, split_url};

/// Bytes that one read asks for.
const READ_LEN: u64 = 64 << 10;

pub(super) fn send(request: &Request) -> Result<Response, Error> {
    let outgoing = head(request)?;
    let body = outgoing.body().map_err(|()| Error::Failed("no body for the request".to_owned()))?;
    let options = RequestOptions::new();
    let nanoseconds = u64::try_from(request.timeout.as_nanos()).unwrap_or(u64::MAX);
    // A host that cannot keep one of them goes without.
    let _ = options.set_connect_timeout(Some(nanoseconds));
    let _ = options.set_first_byte_timeout(Some(nanoseconds));
    let deadline = Deadline::after(request.timeout);
    let answer = handle(outgoing, Some(options)).map_err(classify)?;
    write_body(body, &request.body, &deadline)?;
    deadline.wait_for(&answer.subscribe())?;
    let response = answer
        .get()
        .and_then(Result::ok)
        .ok_or_else(|| Error::Failed("no response".to_owned()))?
        .map_err(classify)?;
    read(&response, request.response_bytes_max, &deadline)
}

fn head(request: &Request) -> Result<OutgoingRequest, Error> {
    let (scheme, authority, path) = split_url(&request.url)?;
    let headers = Fields::new();
    let length = ("content-length".to_owned(), request.body.len().to_string());
    for (name, value) in request.headers.iter().chain([&length]) {
        headers
            .append(name, value.as_bytes())
            .map_err(|error| Error::Refused(format!("header `{name}`: {error}")))?;
    }
    let outgoing = OutgoingRequest::new(headers);
    let refused = |what: &'static str| move |()| Error::Refused(format!("its {what} is not allowed"));
    outgoing.set_method(&method(&request.method)).map_err(refused("method"))?;
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    outgoing.set_scheme(Some(&scheme)).map_err(refused("scheme"))?;
    outgoing.set_authority(Some(authority)).map_err(refused("authority"))?;
    outgoing.set_path_with_query(Some(path)).map_err(refused("path"))?;
    Ok(outgoing)
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}

fn write_body(body: OutgoingBody, bytes: &[u8], deadline: &Deadline) -> Result<(), Error> {
    let stream = body.write().map_err(|()| Error::Failed("the request's body is taken".to_owned()))?;
    // A receiver may answer before it has read everything; its answer counts then, not this.
    let written = write_all(&stream, bytes, deadline)?;
    drop(stream);
    if written {
        OutgoingBody::finish(body, None).map_err(classify)?;
    }
    Ok(())
}

/// Whether all was written; not, where the receiver stops reading.
fn write_all(stream: &OutputStream, mut bytes: &[u8], deadline: &Deadline) -> Result<bool, Error> {
    let mut flushed = false;
    loop {
        deadline.wait_for(&stream.subscribe())?;
        let Ok(room) = stream.check_write() else { return Ok(false) };
        if bytes.is_empty() && flushed {
            return Ok(true);
        }
        let (now, later) = bytes.split_at(usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len()));
        if stream.write(now).is_err() {
            return Ok(false);
        }
        bytes = later;
        if bytes.is_empty() {
            if stream.flush().is_err() {
                return Ok(false);
            }
            flushed = true;
        }
    }
}

fn read(response: &IncomingResponse, bytes_max: usize, deadline: &Deadline) -> Result<Response, Error> {
    let status = response.status();
    let headers = response.headers().entries();
    let body = response.consume().map_err(|()| Error::Failed("the response's body is taken".to_owned()))?;
    let (body, is_cut) = read_body(&body, bytes_max, deadline)?;
    Ok(Response { status, headers, body, is_cut })
}

fn read_body(body: &IncomingBody, bytes_max: usize, deadline: &Deadline) -> Result<(Vec<u8>, bool), Error> {
    let stream = body.stream().map_err(|()| Error::Failed("the response's body is taken".to_owned()))?;
    let mut bytes = Vec::new();
    loop {
        deadline.wait_for(&stream.subscribe())?;
        match stream.read(READ_LEN) {
            Ok(read) => bytes.extend_from_slice(&read),
            Err(StreamError::Closed) => return Ok((bytes, false)),
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(Error::Failed(format!("reading the response: {}", error.to_debug_string())));
            }
        }
        if bytes.len() > bytes_max {
            bytes.truncate(bytes_max);
            return Ok((bytes, true));
        }
    }
}

/// When an exchange has to be over, whatever it waits for.
struct Deadline {
    at: Pollable,
    limit: Duration,
}

impl Deadline {
    fn after(limit: Duration) -> Self {
        let nanoseconds = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        Self { at: monotonic_clock::subscribe_duration(nanoseconds), limit }
    }

    /// Returns when `ready` is, if that is in time.
    fn wait_for(&self, ready: &Pollable) -> Result<(), Error> {
        if poll(&[ready, &self.at]).contains(&0) && !self.at.ready() {
            return Ok(());
        }
        Err(Error::Failed(format!("the exchange took longer than {:?}", self.limit)))
    }
}

fn classify(code: ErrorCode) -> Error {
    match code {
        ErrorCode::HttpRequestDenied => {
            Error::Refused("this deployment was not granted requests to that host".to_owned())
        }
        ErrorCode::DestinationIpProhibited => Error::Refused(
            "the host's name leads to an address that a grant by name does not open (loopback, link-local, metadata)"
                .to_owned(),
        ),
        ErrorCode::HttpRequestUriInvalid | ErrorCode::HttpRequestMethodInvalid => {
            Error::Refused(format!("{code:?}"))
        }
        other => Error::Failed(format!("{other:?}")),
    }
}
