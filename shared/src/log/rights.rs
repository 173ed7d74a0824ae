//! Detects rights that the Redis user lacks although no command fails, so that operators learn of them.

use redis::{RedisError, RedisResult};

use super::{keys::Partition, layout::RedisConnection as Connection};

/// Returns whether this process's Redis user may measure streams. If not, scripts limit only the number of records of
/// the backlog, and not their bytes.
pub async fn may_measure_backlog(connection: &mut Connection) -> RedisResult<bool> {
    let key = Partition(0).ingest();
    let measured = redis::cmd("MEMORY").arg("USAGE").arg(key).query_async::<Option<u64>>(connection).await;
    match measured {
        Err(error) if is_denied(&error) => Ok(false),
        answer => answer.map(|_| true),
    }
}

/// Remembers whether an error has reported a missing right, so that only the first such error is logged as a warning.
#[derive(Debug, Default)]
pub struct FirstDenial {
    found: bool,
}

impl FirstDenial {
    /// Records an error. Returns true if it is the first one that reports a missing right.
    pub fn record(&mut self, error: &RedisError) -> bool {
        is_denied(error) && !std::mem::replace(&mut self.found, true)
    }
}

/// Whether an error reports a missing right. Also searches the message, because a script reports the error of its
/// command as text.
fn is_denied(error: &RedisError) -> bool {
    error.code() == Some("NOPERM")
        || error.to_string().contains("NOPERM")
        || error.to_string().contains("No permissions")
}
