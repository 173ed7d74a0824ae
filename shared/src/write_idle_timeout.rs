//! A socket that fails when nothing was written to it for too long. actix limits only the time for the head of the
//! first request on a connection. Without this timeout a client could, after one answer, send a part of another head,
//! and occupy the connection and up to 128 KiB for ever. The timeout also closes connections of clients that send
//! requests but never read the answers, also if they have closed their side. Each connection needs one timer.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// A socket with a limit for the time between two writes.
pub struct WriteIdleTimeout<S> {
    socket: S,
    timeout: Duration,
    /// Time of the last write, or of the creation before the first write.
    written_at: Instant,
    /// Ends at `written_at` plus `timeout`, or earlier if something was written since the timer was set.
    timer: Pin<Box<Sleep>>,
}

impl<S> WriteIdleTimeout<S> {
    /// Adds a timeout. It must be longer than the allowed idle time of a connection plus the longest request with its
    /// answer. It must also be some minutes: the kernel takes no bytes until a third of its buffer of some MiB is free,
    /// which takes 90 s for a client that reads 16 KiB a second.
    #[must_use]
    pub fn new(socket: S, timeout: Duration) -> Self {
        let now = Instant::now();
        Self { socket, timeout, written_at: now, timer: Box::pin(sleep_until(now + timeout)) }
    }

    /// Returns the socket without the timeout.
    pub fn into_inner(self) -> S {
        self.socket
    }

    fn poll_timeout<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let deadline = self.written_at + self.timeout;
        while self.timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }

    fn record_write(
        &mut self,
        written: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match written {
            // Also here, because nothing is read from a client that has closed its side.
            Poll::Pending => return self.poll_timeout(cx),
            Poll::Ready(Ok(1..)) => self.written_at = Instant::now(),
            Poll::Ready(_) => {}
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteIdleTimeout<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.socket).poll_read(cx, buf) {
            Poll::Pending => this.poll_timeout(cx),
            ready => ready,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteIdleTimeout<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write(cx, bytes);
        this.record_write(written, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write_vectored(cx, slices);
        this.record_write(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::sleep,
    };

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn slow_request_without_an_answer_times_out() {
        let (mut client, server) = duplex(64);
        let mut server = WriteIdleTimeout::new(server, TIMEOUT);
        let dripping = tokio::spawn(async move {
            while client.write_all(b"x").await.is_ok() {
                sleep(Duration::from_secs(7)).await;
            }
        });
        let begun = Instant::now();
        let ended = loop {
            match server.read_u8().await {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
        assert!((60..70).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
        drop(server);
        dripping.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn each_answer_restarts_the_timeout() {
        let (mut client, server) = duplex(64);
        let mut server = WriteIdleTimeout::new(server, TIMEOUT);
        for _ in 0..5 {
            sleep(Duration::from_secs(50)).await;
            client.write_all(b"ask").await.unwrap();
            server.read_exact(&mut [0; 3]).await.unwrap();
            server.write_all(b"answer").await.unwrap();
            client.read_exact(&mut [0; 6]).await.unwrap();
        }
        let begun = Instant::now();
        assert_eq!(server.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn stalled_write_times_out_and_a_slow_reader_does_not() {
        let (mut client, server) = duplex(4);
        let mut server = WriteIdleTimeout::new(server, TIMEOUT);
        let reading = tokio::spawn(async move {
            for _ in 0..5 {
                sleep(TIMEOUT - Duration::from_secs(1)).await;
                client.read_exact(&mut [0; 4]).await.unwrap();
            }
            client
        });
        server.write_all(&[b'x'; 24]).await.unwrap();
        let _client_that_reads_nothing = reading.await.unwrap();
        let begun = Instant::now();
        assert_eq!(server.write_all(b"more").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn late_data_is_read_and_inner_socket_has_no_timeout() {
        let (mut client, server) = duplex(64);
        let mut server = WriteIdleTimeout::new(server, TIMEOUT);
        client.write_all(b"x").await.unwrap();
        sleep(2 * TIMEOUT).await;
        assert_eq!(server.read_u8().await.unwrap(), b'x');
        let mut server = server.into_inner();
        let late = tokio::spawn(async move {
            sleep(10 * TIMEOUT).await;
            client.write_all(b"y").await.unwrap();
        });
        assert_eq!(server.read_u8().await.unwrap(), b'y');
        late.await.unwrap();
    }
}
