//! Request bodies: read as text up to a limit. Promises that no more than the limit is ever held.

use actix_web::web::{self, Bytes};
use tidings_shared::error::ErrorCode;

use super::problem::Problem;

/// Body of a command, in bytes: as large as the largest frame over the WebSocket.
pub const COMMAND_BYTES: usize = 64 * 1024;
/// Body of a room's creation, in bytes: a thousand members with ids of the longest usual kind.
pub const ROOM_BYTES: usize = 256 * 1024;

/// A body that is text.
pub struct Body(Bytes);

impl Body {
    /// # Errors
    /// `too_large` above `limit_bytes`; `bad_request` when it is not UTF-8 or the client stops in the middle.
    pub async fn read(payload: web::Payload, limit_bytes: usize) -> Result<Self, Problem> {
        let bytes = match payload.to_bytes_limited(limit_bytes).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(_)) => return Err(Problem::new(ErrorCode::BadRequest, "the body cannot be read")),
            Err(_) => {
                let rule = format!("the body must not be over {limit_bytes} bytes");
                return Err(Problem::new(ErrorCode::TooLarge, rule));
            }
        };
        match std::str::from_utf8(&bytes) {
            Ok(_) => Ok(Self(bytes)),
            Err(_) => Err(Problem::new(ErrorCode::BadRequest, "the body is not UTF-8")),
        }
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.0).expect("checked when it was read")
    }
}
