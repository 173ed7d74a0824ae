//! Refuses handshakes: while the worker is stopping or full, and as an answer on a socket or in plain HTTP.

use std::{io, time::Duration};

use actix_http::{
    StatusCode,
    header::{self, HeaderValue},
};
use actix_web::HttpResponse;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{handshake::Refusal, worker::TransportWorker};

/// Maximum time for a refused peer to read the answer and close its socket.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);
/// The `Retry-After` of a stopping node: one second, because another node accepts the client at once.
const STOPPING_RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

fn unavailable(code: &str, detail: &str) -> Refusal {
    Refusal::problem(StatusCode::SERVICE_UNAVAILABLE, code, detail)
}

/// Refuses a handshake while the worker is stopping or full.
pub(super) fn refuse_unless_open(worker: &TransportWorker) -> Result<(), Refusal> {
    if worker.is_stopping() {
        return Err(unavailable("unavailable", "this node is stopping; connect again")
            .header(header::RETRY_AFTER, STOPPING_RETRY_AFTER));
    }
    if !worker.has_capacity() {
        return Err(unavailable("overloaded", "this node has too many connections; retry later"));
    }
    Ok(())
}

/// Refuses the handshake of a polling session while the worker is stopping or full, or has too many such sessions.
pub(super) fn refuse_unless_polling_allowed(worker: &TransportWorker) -> Result<(), Refusal> {
    refuse_unless_open(worker)?;
    if !worker.has_polling_capacity() {
        return Err(unavailable("overloaded", "this node has too many polling sessions; retry later"));
    }
    Ok(())
}

/// The refusal as the answer to a plain HTTP request.
pub(super) fn to_http_response(refusal: Refusal) -> HttpResponse {
    let mut answer = HttpResponse::build(refusal.status);
    for header in refusal.headers {
        answer.append_header(header);
    }
    answer.content_type(refusal.content_type).body(refusal.body)
}

/// Sends the unsent bytes and then the refusal, and closes the socket.
pub(super) async fn send_refusal(socket: TcpStream, unsent: &[u8], refusal: &Refusal) {
    send_and_close(socket, &[unsent, &refusal.encode()].concat()).await;
}

/// Sends the bytes, then waits until the peer closes, because closing the socket first could destroy the bytes.
pub(super) async fn send_and_close(mut socket: TcpStream, bytes: &[u8]) {
    let answer = async {
        socket.write_all(bytes).await?;
        socket.shutdown().await?;
        let mut rest = [0; 512];
        while socket.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // The result is ignored, because it does not matter whether the peer has read the answer.
    let _ = timeout(REFUSAL_TIMEOUT, answer).await;
}
