//! Reads request bodies as text, within a size limit and a deadline. Never holds more than the limit in memory. A
//! caller who is blocked while a slow body arrives is refused.

use std::time::Duration;

use actix_web::web::{self, Bytes};
use tidings_shared::error::ErrorCode;
use tokio::time::{Instant, timeout};

use super::caller::Caller;
use super::problem::Problem;
use super::state::State;

/// Longest body of a command, in bytes. Equals the largest frame over the WebSocket.
pub const MAX_COMMAND_BODY_BYTES: usize = 64 * 1024;
/// Longest body of a room creation, in bytes. Enough for a thousand members with long user ids.
pub const MAX_ROOM_BODY_BYTES: usize = 256 * 1024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);
/// If reading a body took longer than this, the caller's account and token are checked again.
const RECHECK_AFTER: Duration = Duration::from_millis(500);

/// A request body that is valid UTF-8.
pub struct Body(Bytes);

impl Body {
    /// Reads the body of a command. If it arrived slowly, also calls [`Caller::recheck`]. Refuses with `too_large`
    /// above `limit_bytes`, and with `bad_request` if the body is not UTF-8 or does not arrive completely.
    pub async fn read(
        state: &State,
        caller: &Caller,
        payload: web::Payload,
        limit_bytes: usize,
    ) -> Result<Self, Problem> {
        let began = Instant::now();
        let bytes = read_bytes(payload, limit_bytes, BODY_TIMEOUT).await?;
        if began.elapsed() > RECHECK_AFTER {
            caller.recheck(state).await?;
        }
        match std::str::from_utf8(&bytes) {
            Ok(_) => Ok(Self(bytes)),
            Err(_) => Err(Problem::new(ErrorCode::BadRequest, "the body is not UTF-8")),
        }
    }

    /// The text of the body. [`Body::read`] has checked that it is UTF-8.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.0).expect("checked when it was read")
    }
}

/// Reads a body of at most `limit_bytes` within the time `within`. Refuses with `too_large`, or `bad_request` if it is
/// incomplete.
pub async fn read_bytes(
    payload: web::Payload,
    limit_bytes: usize,
    within: Duration,
) -> Result<Bytes, Problem> {
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
