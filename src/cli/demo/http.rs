//! The few GET requests of the demo to its own processes: HTTP/1.0 on the local machine, without a client.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long a local process may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longer answers are cut; those of the simulator about one phone are far below.
const BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Gets the body of a 200; anything else is an error.
pub(super) async fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    tokio::time::timeout(TIMEOUT, exchange(address, path)).await.context("no answer in time")?
}

async fn exchange(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    // HTTP/1.0: the answer comes in one piece and the connection ends with it.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.take(BYTES_MAX).read_to_end(&mut bytes).await?;
    let text = String::from_utf8_lossy(&bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { bail!("{address}{path} gave no answer") };
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.to_owned()),
        status => bail!("{address}{path} answered {}", status.unwrap_or("nothing")),
    }
}
