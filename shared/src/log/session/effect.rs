//! What an error of a command means for the session that sent it. Redis Cluster refuses a command before it begins, if
//! a key belongs to another process or is about to move.

use redis::RedisError;

use crate::log::{
    keys::{Partition, PartitionSet},
    shard_map::partition_of_slot,
};

/// What an error means for the session of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEffect {
    /// The session stays usable.
    None,
    /// The slot is moving to another process. The command was not executed; the caller repeats it later.
    SlotMoves,
    /// The session no longer serves these partitions. The command was not executed.
    PartitionsEnded(PartitionSet),
    /// The connection or the process is unusable.
    Ended,
}

impl SessionEffect {
    /// The effect of an error on the session that sent the command or the pipeline. A pipeline may have failed with
    /// several errors.
    pub fn of(error: &RedisError) -> Self {
        if error.is_unrecoverable_error() || error.is_timeout() {
            return Self::Ended;
        }
        let (mut ended, mut slot_moves) = (Vec::new(), false);
        for (_, error) in error.clone().into_server_errors().iter().flat_map(|errors| errors.iter()) {
            let detail = error.details().unwrap_or_default();
            match error.code() {
                "NOSCRIPT" | "READONLY" | "LOADING" | "MASTERDOWN" | "MISCONF" | "UNBLOCKED"
                | "CLUSTERDOWN" => {
                    return Self::Ended;
                }
                "MOVED" => match partition_of_moved(detail) {
                    Some(partition) => ended.push(partition),
                    None => return Self::Ended,
                },
                // The answer of `epoch_check.lua`.
                "EPOCHENDED" => match Partition::of_epoch_mark(detail) {
                    Some(partition) => ended.push(partition),
                    None => return Self::Ended,
                },
                "ASK" | "TRYAGAIN" => slot_moves = true,
                _ => {}
            }
        }
        match (ended.is_empty(), slot_moves) {
            (false, _) => Self::PartitionsEnded(ended.into_iter().collect()),
            (true, true) => Self::SlotMoves,
            (true, false) => Self::None,
        }
    }
}

/// The partition in the detail of a MOVED error: `<slot> <host>:<port>`.
fn partition_of_moved(detail: &str) -> Option<Partition> {
    partition_of_slot(detail.split(' ').next()?.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use redis::{FromRedisValue, Value};

    use super::*;

    /// The error of a command that Redis answers with this line.
    fn error(line: &str) -> RedisError {
        let answer = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        let answer: redis::RedisResult<redis::RedisResult<Value>> =
            FromRedisValue::from_redis_value(answer).map_err(RedisError::from);
        answer.unwrap().unwrap_err()
    }

    #[test]
    fn errors_of_a_cluster_end_one_partition_or_none() {
        let ends = |partition| SessionEffect::PartitionsEnded([Partition(partition)].into_iter().collect());
        let cases = [
            ("MOVED 801 127.0.0.1:7002", ends(7)),
            ("MOVED 802 127.0.0.1:7002", SessionEffect::Ended),
            ("EPOCHENDED {63}:epoch", ends(63)),
            ("ASK 801 127.0.0.1:7002", SessionEffect::SlotMoves),
            ("TRYAGAIN Multiple keys request during rehashing of slot", SessionEffect::SlotMoves),
            ("CLUSTERDOWN The cluster is down", SessionEffect::Ended),
            ("READONLY You can't write against a read only replica.", SessionEffect::Ended),
            ("NOSCRIPT No matching script.", SessionEffect::Ended),
            ("NOREPLICAS Not enough good replicas to write.", SessionEffect::None),
            ("OOM command not allowed", SessionEffect::None),
            ("ERR unknown command", SessionEffect::None),
        ];
        for (line, effect) in cases {
            assert_eq!(SessionEffect::of(&error(line)), effect, "{line}");
        }
    }
}
