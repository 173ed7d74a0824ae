//! `/me/export`: all data that is stored about the caller, as lines of JSON. Holds at most a few pages in memory.
//! A complete export ends with a line of type `end`; after a failure the answer is cut off without that line.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::web::{self, Bytes};
use actix_web::{HttpResponse, http::header};
use chrono::Utc;
use futures_util::stream;
use sea_orm::{DatabaseConnection, DbErr, FromQueryResult, Statement};
use serde::Serialize;
use thiserror::Error;
use tidings_shared::ids::UserId;
use tidings_shared::min_data_rate::MinDataRate;
use tidings_shared::request_slots::SlotGuard;
use tokio::sync::mpsc;

use super::caller::Caller;
use super::problem::Problem;
use super::state::State;
use crate::query::export::{
    self, ExportedDevice, ExportedMembership, ExportedMute, ExportedReaction, ExportedRejoin,
};
use crate::query::json::wire_time;
use crate::writer::failure;

/// Version of the format of the lines, which the first line contains.
const FORMAT_VERSION: u32 = 1;
/// Maximum number of pieces that wait to be sent.
const PIECE_CHANNEL_CAPACITY: usize = 1;
/// Largest piece of a page that is sent at once. At the lowest rate a client reads it in a part of
/// [`CLIENT_READ_TIMEOUT`].
const MAX_PIECE_BYTES: usize = 64 * 1024;
/// The lowest rate of a client in bytes per second. An export occupies one of few slots until its client has read it.
const MIN_READ_RATE: NonZeroU64 = NonZeroU64::new(16 * 1024).expect("not zero");
/// A client that falls behind [`MIN_READ_RATE`] by this time counts as disconnected.
const CLIENT_READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Why an export ends early.
#[derive(Debug, Error)]
enum ExportError {
    #[error("the client is gone, or reads too slowly")]
    ClientGone,
    #[error("{}", failure::redacted_cause(.0))]
    Database(#[from] DbErr),
    #[error("a line cannot be written")]
    Line(#[from] serde_json::Error),
    /// The error that the HTTP server gets, so that it cuts off the answer.
    #[error("the export was cut off")]
    Truncated,
}

/// All data that is stored about me: a header, my profile, memberships, every message that I sent (also in rooms that I
/// left) with its earlier versions, my reactions, my devices and muted rooms, and a last line `end`. One JSON object
/// per line.
#[utoipa::path(
    get, path = "/v1/me/export", operation_id = "exportMe", tag = "me",
    responses(
        (status = 200, description = "Lines of JSON; complete only with a last line of type `end`",
            content_type = "application/x-ndjson", body = String),
        (status = 429, description = "Another export of the caller is under way"),
    )
)]
pub async fn export_me(state: web::Data<State>, caller: Caller) -> Result<HttpResponse, Problem> {
    let permit = state.export_slots.acquire(&caller.user, "exports")?;
    let (pieces, receiver) = mpsc::channel(PIECE_CHANNEL_CAPACITY);
    let complete = Arc::new(AtomicBool::new(false));
    let pieces = PieceSender::new(pieces);
    let export = Export { db: state.db.clone(), user: caller.user, pieces, page: Vec::new(), lines: 0 };
    tokio::spawn(run_export(export, complete.clone(), permit));
    let body = stream::unfold(Some(receiver), move |receiver| {
        let complete = complete.clone();
        async move {
            let mut receiver = receiver?;
            match receiver.recv().await {
                Some(piece) => Some((Ok(piece), Some(receiver))),
                None if complete.load(Ordering::Acquire) => None,
                None => Some((Err(ExportError::Truncated), None)),
            }
        }
    });
    Ok(HttpResponse::Ok()
        .content_type("application/x-ndjson")
        .insert_header((header::CONTENT_DISPOSITION, "attachment; filename=\"tidings-export.ndjson\""))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .streaming(body))
}

async fn run_export(mut export: Export, complete: Arc<AtomicBool>, _permit: SlotGuard) {
    match export.run().await {
        Ok(()) => complete.store(true, Ordering::Release),
        Err(ExportError::ClientGone) => tracing::debug!("a client did not read an export to its end"),
        Err(error) => tracing::warn!(cause = %error, "an export was cut off"),
    }
}

struct Export {
    db: DatabaseConnection,
    user: UserId,
    pieces: PieceSender,
    /// The collected lines of the page that is sent next.
    page: Vec<u8>,
    /// Number of lines so far, which the line `end` contains.
    lines: u64,
}

#[derive(Serialize)]
struct ExportLine<'a, T> {
    r#type: &'static str,
    #[serde(flatten)]
    data: &'a T,
}

#[derive(Serialize)]
struct ExportHeader<'a> {
    version: u32,
    user: &'a str,
    at: String,
}

impl Export {
    async fn run(&mut self) -> Result<(), ExportError> {
        let user = self.user.clone();
        let head = ExportHeader { version: FORMAT_VERSION, user: user.as_str(), at: wire_time(&Utc::now()) };
        self.write_line("export", &head)?;
        if let Some(profile) = export::profile(&self.db, &user).await? {
            self.write_line("profile", &profile)?;
        }
        self.send_page().await?;
        self.write_list("membership", export::memberships, |row: &ExportedMembership| row.room.clone())
            .await?;
        self.write_list("rejoin", export::rejoin_roles, |row: &ExportedRejoin| row.room.clone()).await?;
        let mut after = String::new();
        loop {
            let written = export::rooms_with_messages(&self.db, &user, &after).await?;
            let Some(last) = written.last() else { break };
            after.clone_from(last);
            for room in &written {
                self.write_messages(&user, room).await?;
            }
        }
        let reaction_key = |row: &ExportedReaction| (row.room.clone(), row.seq, row.emoji.clone());
        self.write_list("reaction", export::reactions, reaction_key).await?;
        self.write_list("device", export::devices, |row: &ExportedDevice| row.id.clone()).await?;
        self.write_list("mute", export::mutes, |row: &ExportedMute| row.room.clone()).await?;
        self.write_line("end", &serde_json::json!({ "lines": self.lines }))?;
        self.send_page().await
    }

    /// Writes a line for each row of a list. `page` selects the rows after a key, and `key` is that of a row.
    async fn write_list<T: Serialize + FromQueryResult, K: Default>(
        &mut self,
        kind: &'static str,
        page: fn(&UserId, K) -> Statement,
        key: impl Fn(&T) -> K,
    ) -> Result<(), ExportError> {
        let mut after = K::default();
        loop {
            let rows = T::find_by_statement(page(&self.user, after)).all(&self.db).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = key(last);
            rows.iter().try_for_each(|row| self.write_line(kind, row))?;
            self.send_page().await?;
        }
    }

    async fn write_messages(&mut self, user: &UserId, room: &str) -> Result<(), ExportError> {
        let mut after = String::new();
        loop {
            let page = export::sent_messages(&self.db, user, room, &after).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after.clone_from(&last.client_id);
            page.iter().try_for_each(|message| self.write_line("message", message))?;
            self.send_page().await?;
            let changed = page.iter().filter(|message| message.edited_at.is_some() || message.deleted);
            let changed: Vec<i64> = changed.map(|message| message.seq).collect();
            if !changed.is_empty() {
                self.write_versions(room, &changed).await?;
            }
        }
    }

    async fn write_versions(&mut self, room: &str, seqs: &[i64]) -> Result<(), ExportError> {
        let mut after = (0, i64::MIN);
        loop {
            let page = export::versions(&self.db, room, seqs, after).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = (last.seq, last.version);
            page.iter().try_for_each(|version| self.write_line("version", version))?;
            self.send_page().await?;
        }
    }

    fn write_line(&mut self, kind: &'static str, data: &impl Serialize) -> Result<(), ExportError> {
        serde_json::to_writer(&mut self.page, &ExportLine { r#type: kind, data })?;
        self.page.push(b'\n');
        self.lines += 1;
        Ok(())
    }

    /// Sends the collected lines as a page.
    async fn send_page(&mut self) -> Result<(), ExportError> {
        self.pieces.send(std::mem::take(&mut self.page).into()).await
    }
}

/// Sends pages to a client that reads fast enough.
struct PieceSender {
    pieces: mpsc::Sender<Bytes>,
    limit: MinDataRate,
}

impl PieceSender {
    fn new(pieces: mpsc::Sender<Bytes>) -> Self {
        Self { pieces, limit: MinDataRate::new(MIN_READ_RATE, CLIENT_READ_TIMEOUT) }
    }

    /// Sends a page. Waits until its pieces were sent, except the last one.
    async fn send(&mut self, mut page: Bytes) -> Result<(), ExportError> {
        while !page.is_empty() {
            let piece = page.split_to(page.len().min(MAX_PIECE_BYTES));
            let bytes = piece.len();
            let sent = self.limit.wait(self.pieces.send(piece)).await;
            sent.ok_or(ExportError::ClientGone)?.map_err(|_| ExportError::ClientGone)?;
            self.limit.count(bytes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    /// Sends 500 pages to a client that pauses after each piece. Returns the result, and the seconds that it took.
    async fn send_pages(page_bytes: usize, pause: Duration) -> (Result<(), ExportError>, u64) {
        let (pieces, mut receiver) = mpsc::channel(PIECE_CHANNEL_CAPACITY);
        let (mut sender, began) = (PieceSender::new(pieces), Instant::now());
        let client = tokio::spawn(async move {
            while receiver.recv().await.is_some() {
                sleep(pause).await;
            }
        });
        let mut sent = Ok(());
        for _ in 0..500 {
            sent = sender.send(Bytes::from(vec![0_u8; page_bytes])).await;
            if sent.is_err() {
                break;
            }
        }
        client.abort();
        (sent, began.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn export_ends_if_its_client_reads_too_slowly() {
        for (page_bytes, pause_s) in [(1_000, 3_600), (1_000, 29), (10_000, 5), (1_000_000, 29)] {
            let (sent, seconds) = send_pages(page_bytes, Duration::from_secs(pause_s)).await;
            assert!(
                matches!(sent, Err(ExportError::ClientGone)),
                "{page_bytes} bytes, {pause_s} s: {sent:?}"
            );
            assert!((30..120).contains(&seconds), "{page_bytes} bytes, {pause_s} s: {seconds} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn export_goes_on_if_its_client_reads_fast_enough() {
        for (page_bytes, pause_ms) in [(1_000, 0), (1_000, 50), (1_000_000, 3_000)] {
            let (sent, _) = send_pages(page_bytes, Duration::from_millis(pause_ms)).await;
            assert!(sent.is_ok(), "{page_bytes} bytes, {pause_ms} ms: {sent:?}");
        }
    }
}
