//! Runnable programs that show the client; each is one file under `bin/`.
//!
//! All take the bootstrap address as their first argument (default `127.0.0.1:9092`) and, as second, the
//! authority that signed the broker's certificate; with `tcp` in its place they connect without TLS.
//!
//! ```text
//! cargo run --release -- dev                       # in one terminal
//! cargo run -p millrace-examples --bin produce_consume -- 127.0.0.1:9092 millrace-data/tls/ca.pem
//! ```

use anyhow::Context;
use millrace_client::{Client, Transport};

/// Where a broker started by `millrace dev` in the current directory keeps its authority.
const DEV_CA: &str = "millrace-data/tls/ca.pem";

/// Connects as the program's arguments say.
pub async fn connect() -> anyhow::Result<Client> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9092".to_owned());
    let ca = arguments.next().unwrap_or_else(|| DEV_CA.to_owned());
    let builder = Client::builder().bootstrap(&address).client_id("millrace-examples");
    let builder = if ca == "tcp" { builder.transport(Transport::Tcp) } else { builder.ca_file(&ca) };
    builder.connect().await.with_context(|| format!("connect to {address} (authority: {ca})"))
}
