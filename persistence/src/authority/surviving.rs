//! Reads what Redis still holds of rooms that are seeded.
//! Does not use MULTI: Redis answers EXECABORT instead of MOVED, and refuses MULTI when memory is full. Without MULTI,
//! a tail may be newer than its hash. Then the seed is not written, because the hash has changed.

use std::sync::Arc;

use futures_util::future::try_join_all;
use tidings_shared::{
    ids::{Epoch, RoomId, Seq},
    log::{AppendError, AuthorityError, Log, Session, keys},
};

use super::{by_partition, unavailable};
use crate::writer::seeds::plan::SurvivingState;

type HashAndTailAnswer = ((Option<u64>, Option<u64>), Vec<(String, redis::Value)>);
/// A room and its state in Redis; `None` if the room's partition is moving to another process.
type RoomState = (RoomId, Option<SurvivingState>);

/// Reads each room's hash and the last record of its tail.
pub async fn read_surviving(
    log: &Log,
    session: &Arc<Session>,
    rooms: &[RoomId],
) -> Result<Vec<RoomState>, AuthorityError> {
    let reads = by_partition(rooms.iter().cloned()).into_values();
    let read = try_join_all(reads.map(|rooms| read_surviving_of_partition(log, session, rooms))).await?;
    Ok(read.into_iter().flatten().collect())
}

/// [`read_surviving`] for rooms of one partition, in one Redis request.
async fn read_surviving_of_partition(
    log: &Log,
    session: &Arc<Session>,
    rooms: Vec<RoomId>,
) -> Result<Vec<RoomState>, AuthorityError> {
    let mut pipe = redis::pipe();
    for room in &rooms {
        pipe.cmd("HMGET").arg(keys::room(room)).arg("epoch").arg("seq");
        pipe.cmd("XREVRANGE").arg(keys::tail(room)).arg("+").arg("-").arg("COUNT").arg(1);
    }
    let answer: Result<Vec<redis::Value>, _> = pipe.query_async(&mut session.connection()).await;
    let values = match answer.map_err(|error| log.append_error(session, &error)) {
        Ok(values) => values,
        Err(AppendError::Moving) => return Ok(rooms.into_iter().map(|room| (room, None)).collect()),
        Err(error) => return Err(unavailable(error)),
    };
    let pairs = rooms.into_iter().zip(values.chunks(2));
    pairs
        .map(|(room, pair)| {
            let ((epoch, seq), tail): HashAndTailAnswer =
                redis::from_redis_value(redis::Value::Array(pair.to_vec()))
                    .map_err(|_| unavailable("a room's hash or tail has an unexpected form"))?;
            let hash = epoch.map(Epoch).zip(seq.map(Seq));
            let last = tail.first().and_then(|(id, _)| id.split_once('-')?.0.parse().ok());
            Ok((room, Some(SurvivingState { hash, tail_last: last.map(Seq) })))
        })
        .collect()
}
