//! Request bodies: read as text up to a limit, within a time. Promises that no more than the limit is ever held, and
//! that who was shut out while they were sending changes nothing any more.

use std::time::Duration;

use actix_web::web::{self, Bytes};
use tidings_shared::error::ErrorCode;
use tokio::time::{Instant, timeout};

use super::caller::Caller;
use super::problem::Problem;
use super::state::State;

/// Body of a command, in bytes: as large as the largest frame over the WebSocket.
pub const COMMAND_BYTES: usize = 64 * 1024;
/// Body of a room's creation, in bytes: a thousand members with ids of the longest usual kind.
pub const ROOM_BYTES: usize = 256 * 1024;
/// Who does not finish a body by then is gone.
const WITHIN: Duration = Duration::from_secs(20);
/// After so long what was found of the caller may be past, and is looked at again.
const SOON: Duration = Duration::from_millis(500);

/// A body that is text.
pub struct Body(Bytes);

impl Body {
    /// Every body is that of a command: who it comes from is looked at again when it came slowly.
    ///
    /// # Errors
    /// `too_large` above `limit_bytes`; `bad_request` when it is not UTF-8, or the client stops in the middle; and as
    /// for a request whose caller may not use the service.
    pub async fn read(
        state: &State,
        caller: &Caller,
        payload: web::Payload,
        limit_bytes: usize,
    ) -> Result<Self, Problem> {
        let began = Instant::now();
        let bytes = bytes(payload, limit_bytes, WITHIN).await?;
        if began.elapsed() > SOON {
            caller.check_again(state).await?;
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

/// A body of at most so many bytes, that is there within this time.
///
/// # Errors
/// `too_large`; `bad_request` when it does not come to its end.
pub async fn bytes(payload: web::Payload, limit_bytes: usize, within: Duration) -> Result<Bytes, Problem> {
    match timeout(within, payload.to_bytes_limited(limit_bytes)).await {
        Ok(Ok(Ok(bytes))) => Ok(bytes),
        Ok(Ok(Err(_))) => Err(Problem::new(ErrorCode::BadRequest, "the body cannot be read")),
        Ok(Err(_)) => {
            let rule = format!("the body must not be over {limit_bytes} bytes");
            Err(Problem::new(ErrorCode::TooLarge, rule))
        }
        Err(_) => Err(Problem::new(ErrorCode::BadRequest, "the body did not come in time")),
    }
}
