//! A WebSocket of the probe: opens it with the token, sends frames, and waits for frames. Never reconnects.

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tidings_shared::{error::ErrorCode, protocol::CloseCode};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        http::{HeaderValue, header::AUTHORIZATION},
    },
};

use crate::{
    connection::ByteStream,
    http::refusal,
    step::{BROKEN, PROTOCOL, StepFailure},
};

/// An authenticated WebSocket.
pub struct Socket(WebSocketStream<Box<dyn ByteStream>>);

impl Socket {
    /// Opens the WebSocket at `url` on this connection, and waits for `connected`.
    pub async fn open(url: &str, token: &str, stream: Box<dyn ByteStream>) -> Result<Self, StepFailure> {
        let mut request = url.into_client_request().map_err(broken)?;
        let bearer = HeaderValue::from_str(&format!("Bearer {token}"));
        let bearer = bearer.map_err(|_| StepFailure::new(PROTOCOL, "the token is not fit for a header"))?;
        request.headers_mut().insert(AUTHORIZATION, bearer);
        let opened = client_async(request, stream).await;
        let (stream, _) = opened.map_err(|error| match error {
            Error::Http(answer) => {
                refusal(answer.status().as_u16(), answer.body().as_deref().unwrap_or_default())
            }
            error => broken(error),
        })?;
        let mut socket = Self(stream);
        socket.wait_for(|frame| frame["type"] == "connected").await?;
        Ok(socket)
    }

    /// Sends a frame.
    pub async fn send(&mut self, frame: &Value) -> Result<(), StepFailure> {
        self.0.send(Message::text(frame.to_string())).await.map_err(broken)
    }

    /// Waits for a frame, and drops all frames before it. Fails at the first `error` frame.
    pub async fn wait_for(&mut self, wanted: impl Fn(&Value) -> bool) -> Result<Value, StepFailure> {
        loop {
            let frame = self.next_frame().await?;
            if frame["type"] == "error" {
                let text = |name: &str| frame[name].as_str().unwrap_or_default();
                return Err(StepFailure::answered(text("code"), text("message")));
            }
            if wanted(&frame) {
                return Ok(frame);
            }
        }
    }

    async fn next_frame(&mut self) -> Result<Value, StepFailure> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(text.as_str()).map_err(|error| {
                        StepFailure::new(PROTOCOL, format!("a frame is not JSON: {error}"))
                    });
                }
                Some(Ok(Message::Close(frame))) => {
                    let (code, reason) =
                        frame.map_or((1005, String::new()), |it| (it.code.into(), it.reason.to_string()));
                    return Err(closed(code, &reason));
                }
                // Pings are answered by the library.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(broken(error)),
                None => return Err(StepFailure::new(BROKEN, "the connection ended")),
            }
        }
    }
}

fn closed(code: u16, reason: &str) -> StepFailure {
    let message = format!("closed with {code} {reason}");
    let failure = match CloseCode::ALL.into_iter().find(|known| known.code() == code) {
        Some(CloseCode::Unauthorized) => ErrorCode::Unauthorized.as_str(),
        Some(CloseCode::Forbidden) => ErrorCode::Forbidden.as_str(),
        Some(CloseCode::Overloaded) => ErrorCode::Overloaded.as_str(),
        Some(CloseCode::TooManyConnections | CloseCode::Abuse) => ErrorCode::RateLimited.as_str(),
        _ => BROKEN,
    };
    StepFailure::new(failure, message)
}

fn broken(error: Error) -> StepFailure {
    match error {
        Error::Io(error) => StepFailure::io(&error),
        error => StepFailure::new(BROKEN, error),
    }
}
