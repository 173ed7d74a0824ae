//! `/me/export`: all that is kept of the asker, as lines of JSON.
//! Promises to hold no more than a few pages at a time, and that an export which is whole ends with a line that says
//! so: whatever goes wrong on the way cuts the answer off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::web::{self, Bytes};
use actix_web::{HttpResponse, http::header};
use chrono::Utc;
use futures_util::stream;
use sea_orm::{DatabaseConnection, DbErr};
use serde::Serialize;
use thiserror::Error;
use tidings_shared::ids::UserId;
use tidings_shared::places::Place;
use tokio::sync::mpsc;

use super::caller::Caller;
use super::problem::{Problem, ProblemDocument};
use super::state::State;
use crate::query::export;
use crate::query::json::wire_time;
use crate::writer::failure;

/// Version of the lines' form.
const FORMAT_VERSION: u32 = 1;
/// Pages that wait to be taken.
const PAGES_BETWEEN: usize = 1;
/// Who takes nothing for so long is gone.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);

/// Why an export ends before its end.
#[derive(Debug, Error)]
enum Cut {
    #[error("the client is gone, or takes nothing")]
    Gone,
    #[error("{}", failure::without_data(.0))]
    Database(#[from] DbErr),
    #[error("a line cannot be written")]
    Line(#[from] serde_json::Error),
    /// What the server's side of the answer is told.
    #[error("the export was cut off")]
    Short,
}

/// All that is kept of me: a header, my profile, memberships, every message that I sent (in rooms that I left too) with
/// its earlier versions, my reactions, and a last line `end`. One JSON object per line.
#[utoipa::path(
    get, path = "/v1/me/export", operation_id = "exportMe", tag = "me",
    responses(
        (status = 200, description = "Lines of JSON; whole only with a last line of type `end`",
            content_type = "application/x-ndjson", body = String),
        (status = 429, description = "One of the asker's is under way",
            body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub async fn export_me(state: web::Data<State>, caller: Caller) -> Result<HttpResponse, Problem> {
    let place = state.exporting.take(&caller.user, "exports")?;
    let (pages, taken) = mpsc::channel(PAGES_BETWEEN);
    let whole = Arc::new(AtomicBool::new(false));
    let export = Export { db: state.db.clone(), user: caller.user, pages, page: Vec::new(), lines: 0 };
    tokio::spawn(produce(export, whole.clone(), place));
    let body = stream::unfold(Some(taken), move |taken| {
        let whole = whole.clone();
        async move {
            let mut taken = taken?;
            match taken.recv().await {
                Some(page) => Some((Ok(page), Some(taken))),
                None if whole.load(Ordering::Acquire) => None,
                None => Some((Err(Cut::Short), None)),
            }
        }
    });
    Ok(HttpResponse::Ok()
        .content_type("application/x-ndjson")
        .insert_header((header::CONTENT_DISPOSITION, "attachment; filename=\"tidings-export.ndjson\""))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .streaming(body))
}

async fn produce(mut export: Export, whole: Arc<AtomicBool>, _place: Place) {
    match export.run().await {
        Ok(()) => whole.store(true, Ordering::Release),
        Err(Cut::Gone) => tracing::debug!("an export was not taken to its end"),
        Err(error) => tracing::warn!(cause = %error, "an export was cut off"),
    }
}

struct Export {
    db: DatabaseConnection,
    user: UserId,
    pages: mpsc::Sender<Bytes>,
    /// Lines that are not handed over yet.
    page: Vec<u8>,
    lines: u64,
}

#[derive(Serialize)]
struct Line<'a, T> {
    r#type: &'static str,
    #[serde(flatten)]
    what: &'a T,
}

#[derive(Serialize)]
struct Head<'a> {
    version: u32,
    user: &'a str,
    at: String,
}

#[derive(Serialize)]
struct End {
    /// Before this one.
    lines: u64,
}

impl Export {
    async fn run(&mut self) -> Result<(), Cut> {
        let user = self.user.clone();
        let head = Head { version: FORMAT_VERSION, user: user.as_str(), at: wire_time(&Utc::now()) };
        self.line("export", &head)?;
        if let Some(profile) = export::profile(&self.db, &user).await? {
            self.line("profile", &profile)?;
        }
        self.hand_over().await?;
        self.memberships(&user).await?;
        let mut after = String::new();
        while let Some((last, written)) = export::rooms_written(&self.db, &user, &after).await? {
            for room in &written {
                self.messages(&user, room).await?;
            }
            after = last;
        }
        self.reactions(&user).await?;
        self.line("end", &End { lines: self.lines })?;
        self.hand_over().await
    }

    async fn memberships(&mut self, user: &UserId) -> Result<(), Cut> {
        let mut after = String::new();
        loop {
            let page = export::memberships(&self.db, user, &after).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after.clone_from(&last.room);
            page.iter().try_for_each(|membership| self.line("membership", membership))?;
            self.hand_over().await?;
        }
    }

    async fn messages(&mut self, user: &UserId, room: &str) -> Result<(), Cut> {
        let mut after = String::new();
        loop {
            let page = export::sent(&self.db, user, room, &after).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after.clone_from(&last.client_id);
            page.iter().try_for_each(|message| self.line("message", message))?;
            self.hand_over().await?;
            let changed = page.iter().filter(|message| message.edited_at.is_some() || message.deleted);
            let changed: Vec<i64> = changed.map(|message| message.seq).collect();
            if !changed.is_empty() {
                self.versions(room, &changed).await?;
            }
        }
    }

    async fn versions(&mut self, room: &str, seqs: &[i64]) -> Result<(), Cut> {
        let mut after = (0, i64::MIN);
        loop {
            let page = export::versions(&self.db, room, seqs, after).await?;
            let Some((number, last)) = page.last() else { return Ok(()) };
            after = (last.seq, *number);
            page.iter().try_for_each(|(_, version)| self.line("version", version))?;
            self.hand_over().await?;
        }
    }

    async fn reactions(&mut self, user: &UserId) -> Result<(), Cut> {
        let mut after = (String::new(), 0, String::new());
        loop {
            let page = export::reactions(&self.db, user, (&after.0, after.1, &after.2)).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = (last.room.clone(), last.seq, last.emoji.clone());
            page.iter().try_for_each(|reaction| self.line("reaction", reaction))?;
            self.hand_over().await?;
        }
    }

    fn line(&mut self, kind: &'static str, what: &impl Serialize) -> Result<(), Cut> {
        serde_json::to_writer(&mut self.page, &Line { r#type: kind, what })?;
        self.page.push(b'\n');
        self.lines += 1;
        Ok(())
    }

    /// Waits until the page before it was taken.
    async fn hand_over(&mut self) -> Result<(), Cut> {
        let page = Bytes::from(std::mem::take(&mut self.page));
        let handed = tokio::time::timeout(TAKEN_WITHIN, self.pages.send(page)).await;
        handed.map_err(|_| Cut::Gone)?.map_err(|_| Cut::Gone)
    }
}
