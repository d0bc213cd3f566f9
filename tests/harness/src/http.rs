//! Just enough HTTP to ask a broker how it is, and to tell it what to do.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A deployment waits for its module to be compiled.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Status code and body of `GET path`.
pub fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    request(address, "GET", path, None)
}

/// Status code and body of what a request is answered with; `content` is a media type and the bytes.
pub fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    content: Option<(&str, &[u8])>,
) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    if let Some((media_type, bytes)) = content {
        head.push_str(&format!("Content-Type: {media_type}\r\nContent-Length: {}\r\n", bytes.len()));
    }
    write!(stream, "{head}\r\n")?;
    stream.write_all(content.map_or(&[], |(_, bytes)| bytes))?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, format!("no HTTP response: {response:?}"));
    let status = response.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(invalid)?;
    let (_, body) = response.split_once("\r\n\r\n").ok_or_else(invalid)?;
    Ok((status, body.to_owned()))
}
