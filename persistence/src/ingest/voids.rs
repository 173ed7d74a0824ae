//! Tells the rooms of voids: for every void row of an owned partition that nobody was told of, a `message:void` is
//! appended, again and again until one is stored.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tidings_shared::{
    ids::{ClientId, Seq},
    log::{AppendError, Entry, record::Visibility},
};
use tokio_util::sync::CancellationToken;

use super::{Ingest, batch::VOID_KIND};
use crate::writer::{
    failure,
    limit::{self, within},
    voids::{Untold, untold},
};

const EVERY: Duration = Duration::from_secs(2);
/// After a batch with voids: first its watermark is told.
const SOON: Duration = Duration::from_millis(10);
/// Voids told in one go.
const AT_ONCE: u64 = 100;

#[derive(Serialize)]
struct Body<'a> {
    target: Seq,
    client_id: &'a str,
    by: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<Seq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Seq>,
}

pub(super) async fn tell(ingest: Arc<Ingest>, done: CancellationToken) {
    loop {
        tokio::select! {
            () = done.cancelled() => return,
            () = ingest.to_tell.notified() => tokio::time::sleep(SOON).await,
            () = tokio::time::sleep(EVERY) => {}
        }
        let partitions = ingest.holdings().partitions();
        if partitions.is_empty() {
            continue;
        }
        match within(limit::ANSWER, untold(&ingest.db, &partitions, AT_ONCE)).await {
            Ok(voids) => {
                for void in &voids {
                    // The rest has its turn later, and need not wait as long for a Redis that is silent.
                    if done.is_cancelled() || append(&ingest, void).await.is_err() {
                        break;
                    }
                }
            }
            Err(error) => tracing::warn!(cause = failure::without_data(&error), "voids cannot be read"),
        }
    }
}

/// An error is one that others would meet as well.
async fn append(ingest: &Ingest, void: &Untold) -> Result<(), AppendError> {
    let Ok(body) = serde_json::to_string(&Body {
        target: void.target,
        client_id: void.client_id.as_deref().unwrap_or_default(),
        by: void.by.as_deref().unwrap_or_default(),
        reason: &void.reason,
        of: void.of,
        message: void.message,
    }) else {
        return Ok(());
    };
    let entry = Entry {
        client_id: ClientId::parse(&format!("void:{}", void.target)).ok(),
        visibility: audience(void),
        allowed_in_archive: true,
        exempt_from_backlog: true,
        ..Entry::new(&void.room, VOID_KIND, body)
    };
    match ingest.log.append(&entry).await {
        Ok(accepted) if !accepted.duplicate => ingest.metrics.voids_told.inc(),
        Ok(_) => {}
        Err(error) => {
            tracing::debug!(%error, room = %void.room, "a void cannot be told yet");
            if matches!(error, AppendError::Unavailable(_) | AppendError::OtherProcess) {
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Who saw the message: the system has no sender, so the message's own is named.
fn audience(void: &Untold) -> Visibility {
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
    use tidings_shared::ids::RoomId;

    use super::*;

    #[test]
    fn a_private_message_is_taken_back_before_its_sender_and_whom_it_was_for_only() {
        let void = |users: &[&str]| Untold {
            room: RoomId::parse("r").unwrap(),
            target: Seq(1),
            by: Some("alice".to_owned()),
            client_id: None,
            reason: "duplicate".to_owned(),
            of: None,
            message: None,
            visibility: Visibility { users: users.iter().map(ToString::to_string).collect(), roles: vec![] },
        };
        assert_eq!(audience(&void(&["bob"])).users, ["bob", "alice"]);
        assert_eq!(audience(&void(&["alice"])).users, ["alice"]);
        assert!(audience(&void(&[])).is_everyone());
    }
}
