//! A socket that ends when nothing was written to it for too long. actix bounds the time for the head of a connection's
//! first request only: whoever was answered once could begin another head and hold the connection, with up to 128 KiB
//! of head, for ever. Also who asks and never reads the answer is sent away so.
//! Touches the socket it is given and the timer; no longer than a sleep is kept per connection.

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

/// See the module.
pub struct Patient<S> {
    socket: S,
    patience: Duration,
    /// When something was written last; at first, when it was opened.
    written_at: Instant,
    /// Wakes at the earliest moment at which patience may end.
    look: Pin<Box<Sleep>>,
}

impl<S> Patient<S> {
    /// `patience` must cover the longest time that a connection may rest, and then an answer take, its request included.
    #[must_use]
    pub fn new(socket: S, patience: Duration) -> Self {
        let now = Instant::now();
        Self { socket, patience, written_at: now, look: Box::pin(sleep_until(now + patience)) }
    }

    /// The socket, with nobody watching it any more.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.socket
    }

    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.look.as_mut().poll(cx).is_ready() {
            let end = self.written_at + self.patience;
            if Instant::now() >= end {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.look.as_mut().reset(end);
        }
        Poll::Pending
    }

    fn note(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(count)) if count > 0) {
            self.written_at = Instant::now();
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.socket).poll_read(cx, buf) {
            Poll::Pending => this.poll_patience(cx),
            ready => ready,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write(cx, bytes);
        this.note(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write_vectored(cx, slices);
        this.note(written)
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

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn who_sends_a_byte_now_and_then_and_is_answered_nothing_is_cut_off() {
        let (mut client, server) = duplex(64);
        let mut server = Patient::new(server, PATIENCE);
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
    async fn each_answer_gives_as_much_time_again() {
        let (mut client, server) = duplex(64);
        let mut server = Patient::new(server, PATIENCE);
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
    async fn what_is_there_is_read_however_late_and_taken_over_it_is_watched_no_more() {
        let (mut client, server) = duplex(64);
        let mut server = Patient::new(server, PATIENCE);
        client.write_all(b"x").await.unwrap();
        sleep(2 * PATIENCE).await;
        assert_eq!(server.read_u8().await.unwrap(), b'x');
        let mut server = server.into_inner();
        let late = tokio::spawn(async move {
            sleep(10 * PATIENCE).await;
            client.write_all(b"y").await.unwrap();
        });
        assert_eq!(server.read_u8().await.unwrap(), b'y');
        late.await.unwrap();
    }
}
