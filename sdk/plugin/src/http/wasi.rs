//! Requests over `wasi:http`.

use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest, RequestOptions,
    Scheme,
};
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
    let _ = options.set_between_bytes_timeout(Some(nanoseconds));
    let answer = handle(outgoing, Some(options)).map_err(classify)?;
    write_body(body, &request.body)?;
    answer.subscribe().block();
    let response = answer
        .get()
        .and_then(Result::ok)
        .ok_or_else(|| Error::Failed("no response".to_owned()))?
        .map_err(classify)?;
    read(&response, request.response_bytes_max)
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

fn write_body(body: OutgoingBody, bytes: &[u8]) -> Result<(), Error> {
    let stream = body.write().map_err(|()| Error::Failed("the request's body is taken".to_owned()))?;
    // A receiver may answer before it has read everything; its answer counts then, not this.
    let written = write_all(&stream, bytes);
    drop(stream);
    if written.is_ok() {
        OutgoingBody::finish(body, None).map_err(classify)?;
    }
    Ok(())
}

fn write_all(stream: &OutputStream, mut bytes: &[u8]) -> Result<(), StreamError> {
    let ready = stream.subscribe();
    while !bytes.is_empty() {
        let room = match stream.check_write()? {
            0 => {
                ready.block();
                continue;
            }
            room => usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len()),
        };
        let (now, later) = bytes.split_at(room);
        stream.write(now)?;
        bytes = later;
    }
    stream.blocking_flush()
}

fn read(response: &IncomingResponse, bytes_max: usize) -> Result<Response, Error> {
    let status = response.status();
    let headers = response.headers().entries();
    let body = response.consume().map_err(|()| Error::Failed("the response's body is taken".to_owned()))?;
    let bytes = read_body(&body, bytes_max)?;
    Ok(Response { status, headers, body: bytes })
}

fn read_body(body: &IncomingBody, bytes_max: usize) -> Result<Vec<u8>, Error> {
    let stream = body.stream().map_err(|()| Error::Failed("the response's body is taken".to_owned()))?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(READ_LEN) {
            Ok(read) => bytes.extend_from_slice(&read),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(Error::Failed(format!("reading the response: {}", error.to_debug_string())));
            }
        }
        if bytes.len() > bytes_max {
            return Err(Error::Failed(format!("the response exceeds {bytes_max} bytes")));
        }
    }
}

fn classify(code: ErrorCode) -> Error {
    match code {
        ErrorCode::HttpRequestDenied => {
            Error::Refused("this deployment was not granted requests to that host".to_owned())
        }
        ErrorCode::HttpRequestUriInvalid | ErrorCode::HttpRequestMethodInvalid => {
            Error::Refused(format!("{code:?}"))
        }
        other => Error::Failed(format!("{other:?}")),
    }
}
