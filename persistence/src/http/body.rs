//! Request bodies: read as text, up to a size and within a deadline. Never holds more than the limit. A caller who is
//! blocked while a slow body arrives is refused.

use std::time::Duration;

use actix_web::web::{self, Bytes};
use tidings_shared::error::ErrorCode;
use tokio::time::{Instant, timeout};

use super::caller::Caller;
use super::problem::Problem;
use super::state::State;

/// Body of a command, in bytes: the same as the largest frame over the WebSocket.
pub const COMMAND_BYTES: usize = 64 * 1024;
/// Body of a room creation, in bytes: enough for a thousand members with ids of the longest usual kind.
pub const ROOM_BYTES: usize = 256 * 1024;
/// Deadline of a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);
/// When reading took longer than this, the caller's account and token are checked again.
const RECHECK_AFTER: Duration = Duration::from_millis(500);

/// A body that is valid UTF-8.
pub struct Body(Bytes);

impl Body {
    /// Reads the body of a command. Checks the caller again when the body came slowly. Refuses with `too_large` above
    /// `limit_bytes`, `bad_request` when the body is not UTF-8 or the client stops early, and like [`Caller::recheck`].
    pub async fn read(
        state: &State,
        caller: &Caller,
        payload: web::Payload,
        limit_bytes: usize,
    ) -> Result<Self, Problem> {
        let began = Instant::now();
        let bytes = bytes(payload, limit_bytes, BODY_TIMEOUT).await?;
        if began.elapsed() > RECHECK_AFTER {
            caller.recheck(state).await?;
        }
        match std::str::from_utf8(&bytes) {
            Ok(_) => Ok(Self(bytes)),
            Err(_) => Err(Problem::new(ErrorCode::BadRequest, "the body is not UTF-8")),
        }
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.0).expect("checked when it was read")
    }
}

/// Reads a body of at most `limit_bytes` within this time. Refuses with `too_large`, or `bad_request` when the body is
/// incomplete.
pub async fn bytes(payload: web::Payload, limit_bytes: usize, within: Duration) -> Result<Bytes, Problem> {
    match timeout(within, payload.to_bytes_limited(limit_bytes)).await {
        Ok(Ok(Ok(bytes))) => Ok(bytes),
        Ok(Ok(Err(_))) => Err(Problem::new(ErrorCode::BadRequest, "the body cannot be read")),
        Ok(Err(_)) => {
            let rule = format!("the body must not be over {limit_bytes} bytes");
            Err(Problem::new(ErrorCode::TooLarge, rule))
        }
        Err(_) => Err(Problem::new(ErrorCode::BadRequest, "the body did not arrive in time")),
    }
}
