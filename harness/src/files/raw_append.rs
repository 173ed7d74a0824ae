//! A request that sends a part of a chunk and then stalls, so that a test can cut it or wait for its end.

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A request whose body is not complete. Dropping it closes the connection.
pub struct RawAppend {
    stream: TcpStream,
}

impl RawAppend {
    /// Sends the head of a request and `part`, in one chunk of a body without a length.
    pub(super) async fn begin(
        base: &str,
        token: &str,
        upload: &str,
        offset: u64,
        part: &[u8],
    ) -> Result<RawAppend> {
        let address = base.strip_prefix("http://").context("not an address")?;
        let mut stream = TcpStream::connect(address).await?;
        let head = format!(
            "PATCH {upload} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nUpload-Offset: {offset}\r\n\
             Content-Type: application/partial-upload\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
            part.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(part).await?;
        stream.write_all(b"\r\n").await?;
        Ok(RawAppend { stream })
    }

    /// Sends a further part of the body, as one chunk.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn send(&mut self, part: &[u8]) -> Result<()> {
        let head = format!("{:x}\r\n", part.len());
        Ok(self.stream.write_all(&[head.as_bytes(), part, b"\r\n"].concat()).await?)
    }

    /// Ends the body.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn end(&mut self) -> Result<()> {
        Ok(self.stream.write_all(b"0\r\n\r\n").await?)
    }

    /// Reads the answer: the status, and the header `Upload-Offset`.
    ///
    /// # Errors
    /// When the server closes the connection without an answer.
    pub async fn answer(&mut self) -> Result<(u16, Option<u64>)> {
        let mut bytes = Vec::new();
        while !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
            anyhow::ensure!(self.stream.read_buf(&mut bytes).await? > 0, "no answer");
        }
        let head = String::from_utf8_lossy(&bytes).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
        let offset = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("upload-offset").then(|| value.trim().parse().ok()).flatten()
        });
        Ok((status, offset))
    }
}
