//! Announces voids to their rooms: appends a `message:void` event for every void of an owned partition, and repeats
//! this until such an event is stored.

use std::sync::Arc;
use std::time::Duration;

use tidings_shared::{
    ids::ClientId,
    log::{
        AppendError, Entry,
        keys::{Partition, PartitionSet},
        record::Visibility,
    },
    message::events::VoidBody,
    sabotage,
};
use tokio_util::sync::CancellationToken;

use super::Ingest;
use crate::batch::MESSAGE_VOID;
use crate::writer::{
    failure,
    limit::{self, within},
    voids::{UnannouncedVoid, unannounced_voids},
};

const SCAN_INTERVAL: Duration = Duration::from_secs(2);
/// Delay after a batch with voids, because the batch's watermark must be written first.
const AFTER_BATCH_DELAY: Duration = Duration::from_millis(10);
/// Maximum number of voids that one scan reads and announces.
const MAX_VOIDS_PER_SCAN: u64 = 100;

/// Announces voids every 2 s and after each batch with voids, until `done` is cancelled.
pub(super) async fn announce_voids(ingest: Arc<Ingest>, done: CancellationToken) {
    loop {
        tokio::select! {
            () = done.cancelled() => return,
            () = ingest.wake_announcer.notified() => tokio::time::sleep(AFTER_BATCH_DELAY).await,
            () = tokio::time::sleep(SCAN_INTERVAL), if !sabotage::is_removed("voids are announced from their rows") => {}
        }
        // Reads only the voids that can be announced, because the others would use up the limit of the scan.
        let has_session = |partition: &Partition| ingest.log.current_session(*partition).is_some();
        let mut partitions = ingest.owned().partitions();
        partitions.retain(has_session);
        if partitions.is_empty() {
            continue;
        }
        match within(limit::ANSWER_DEADLINE, unannounced_voids(&ingest.db, &partitions, MAX_VOIDS_PER_SCAN))
            .await
        {
            Ok(voids) => {
                let mut failed: Vec<PartitionSet> = Vec::new();
                for void in &voids {
                    if done.is_cancelled() {
                        break;
                    }
                    let partition = Partition::of(&void.room);
                    let Some(session) = ingest.log.current_session(partition) else { continue };
                    // After an error the remaining voids of the session wait for the next scan, because each attempt
                    // may wait for an unresponsive Redis.
                    let may_append = failed.iter().all(|partitions| !partitions.contains(partition));
                    if may_append && append_void_event(&ingest, void).await.is_err() {
                        failed.push(session.partitions);
                    }
                }
            }
            Err(error) => failure::log_failure(&error, "voids cannot be read"),
        }
    }
}

/// Appends the `message:void` event. Returns only errors that would also occur for other voids.
async fn append_void_event(ingest: &Ingest, void: &UnannouncedVoid) -> Result<(), AppendError> {
    let Ok(body) = serde_json::to_string(&VoidBody {
        target: void.target,
        client_id: void.client_id.as_deref().unwrap_or_default(),
        by: void.by.as_deref().unwrap_or_default(),
        reason: &void.reason,
        of: void.duplicate_of,
        message: void.message,
    }) else {
        return Ok(());
    };
    let entry = Entry {
        client_id: ClientId::parse(&format!("void:{}", void.target)).ok(),
        visibility: audience(void),
        allowed_in_archive: true,
        exempt_from_backlog: true,
        ..Entry::new(&void.room, MESSAGE_VOID, body)
    };
    match ingest.log.append(&entry).await {
        Ok(accepted) if !accepted.duplicate => ingest.metrics.void_notices.inc(),
        Ok(_) => {}
        Err(error) => {
            tracing::debug!(%error, room = %void.room, "a void cannot be announced yet");
            if matches!(error, AppendError::Unavailable(_) | AppendError::OtherProcess | AppendError::Moving)
            {
                return Err(error);
            }
        }
    }
    Ok(())
}

/// The users and roles that could see the voided record. The event has no sender, so the record's sender is added.
fn audience(void: &UnannouncedVoid) -> Visibility {
    let mut visibility = void.visibility.clone();
    if let Some(by) = &void.by
        && !visibility.is_everyone()
        && !visibility.users.contains(by)
    {
        visibility.users.push(by.clone());
    }
    visibility
}

#[cfg(test)]
mod tests {
    use tidings_shared::ids::{RoomId, Seq};

    use super::*;

    #[test]
    fn void_of_private_message_reaches_its_audience_only() {
        let void = |users: &[&str]| UnannouncedVoid {
            room: RoomId::parse("r").unwrap(),
            target: Seq(1),
            by: Some("alice".to_owned()),
            client_id: None,
            reason: "duplicate".to_owned(),
            duplicate_of: None,
            message: None,
            visibility: Visibility { users: users.iter().map(ToString::to_string).collect(), roles: vec![] },
        };
        assert_eq!(audience(&void(&["bob"])).users, ["bob", "alice"]);
        assert_eq!(audience(&void(&["alice"])).users, ["alice"]);
        assert!(audience(&void(&[])).is_everyone());
    }
}
