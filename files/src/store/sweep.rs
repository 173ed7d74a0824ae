//! The statements of the sweep. Every replica may run them: a row that another replica holds is skipped.

use std::borrow::Cow;

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use tidings_persistence::sql::{IdColumn, statement};
use tidings_shared::ids::FileId;
use tidings_shared::sabotage::{self, Sabotage};

use super::{showing_message, uploads::seconds};
use crate::file::FileState;

/// Rows that one statement looks at.
pub const BATCH_ROWS: i64 = 200;
/// Complete files that one statement looks for. Each may read many messages of its uploader.
pub const SEARCH_ROWS: i64 = 20;

/// The times of the sweep, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct SweepTimes {
    /// How long a file may wait for its first stored message.
    pub orphan_after_s: i64,
    /// How long a file stays after its last message was found to be gone.
    pub delete_grace_s: i64,
    /// How often a complete file is looked at.
    pub check_every_s: i64,
}

/// Why a file was marked for removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SweepReason {
    /// The upload was not completed in time.
    Abandoned,
    /// No stored message ever named the file.
    Unused,
    /// The messages that named the file are deleted.
    Deleted,
}

/// What one statement has found.
#[derive(Debug, Default)]
pub struct Checked {
    /// Rows that were looked at.
    pub rows: usize,
    pub marked: Vec<SweepReason>,
    /// Rejected files that were looked at. Their content must not exist.
    pub rejected: Vec<RemovedFile>,
}

/// A file whose content must be removed.
#[derive(Debug, Clone, FromQueryResult)]
pub struct RemovedFile {
    pub id: IdColumn<FileId>,
    /// Its multipart upload, if that may not have ended.
    pub upload_id: Option<String>,
    /// Whether its content was removed before.
    pub is_emptied: bool,
}

/// A complete file after [`check_complete`].
#[derive(FromQueryResult)]
struct CheckedFile {
    #[sea_orm(nested)]
    file: RemovedFile,
    state: FileState,
    was_named: bool,
}

/// Marks uploads for removal that were not completed in time. Returns their number.
pub async fn mark_abandoned(db: &impl ConnectionTrait) -> Result<usize, DbErr> {
    let sql = "UPDATE files SET state = 'removed', due_at = now() WHERE id IN \
        (SELECT id FROM files WHERE state = 'uploading' AND due_at <= now() ORDER BY due_at LIMIT $1 \
         FOR UPDATE SKIP LOCKED)";
    let done = db.execute_raw(statement(sql, [BATCH_ROWS.into()])).await?;
    Ok(usize::try_from(done.rows_affected()).unwrap_or(usize::MAX))
}

/// Looks for the messages of complete files that are due, and marks those for removal that no stored message has named
/// for long enough. Looks at up to `limit` files, those first that have waited longest. Keeps the rule that no file is
/// removed whose message was stored in time: a message that this statement does not see is stored after `now()`, and so
/// after `orphan_after_s`.
pub async fn check_complete(
    db: &impl ConnectionTrait,
    times: SweepTimes,
    limit: i64,
) -> Result<Checked, DbErr> {
    let sql = concat!(
        "WITH due AS MATERIALIZED (SELECT * FROM files WHERE state IN ('ready', 'held', 'rejected') \
           AND due_at <= now() ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED), \
         found AS MATERIALIZED (SELECT d.id, ",
        showing_message!("d"),
        " AS seq FROM due d), \
         searched AS (SELECT d.id, COALESCE(n.seq, d.message_seq) AS message_seq, n.seq IS NULL AS unnamed, \
             CASE WHEN n.seq IS NULL THEN COALESCE(d.unused_since, \
               CASE WHEN d.message_seq IS NULL THEN d.completed_at ELSE now() END) END AS unused_since, \
             d.completed_at + make_interval(secs => $2) AS orphan_at \
           FROM due d JOIN found n USING (id)), \
         judged AS (SELECT s.*, GREATEST(s.orphan_at, \
             CASE WHEN s.message_seq IS NOT NULL THEN s.unused_since + make_interval(secs => $3) END) AS remove_at \
           FROM searched s) \
         UPDATE files f SET message_seq = j.message_seq, unused_since = j.unused_since, \
           state = CASE WHEN j.unnamed AND j.remove_at <= now() THEN 'removed' ELSE f.state END, \
           due_at = CASE WHEN j.unnamed AND j.remove_at <= now() THEN now() \
             WHEN j.unnamed THEN LEAST(now() + make_interval(secs => $4), j.remove_at) \
             ELSE now() + make_interval(secs => $4) END \
         FROM judged j WHERE f.id = j.id \
         RETURNING f.id, f.upload_id, f.emptied_at IS NOT NULL AS is_emptied, f.state, j.message_seq IS NOT NULL AS was_named"
    );
    let sql = match sabotage::is_active(Sabotage::File) {
        true => Cow::Owned(sql.replace("j.unnamed AND j.remove_at <= now()", "true")),
        false => Cow::Borrowed(sql),
    };
    let values = [
        limit.into(),
        seconds(times.orphan_after_s).into(),
        seconds(times.delete_grace_s).into(),
        seconds(times.check_every_s).into(),
    ];
    let files = CheckedFile::find_by_statement(statement(&sql, values)).all(db).await?;
    let mut checked = Checked { rows: files.len(), ..Checked::default() };
    for CheckedFile { file, state, was_named } in files {
        match state {
            FileState::Removed if was_named => checked.marked.push(SweepReason::Deleted),
            FileState::Removed => checked.marked.push(SweepReason::Unused),
            FileState::Rejected => checked.rejected.push(file),
            _ => {}
        }
    }
    Ok(checked)
}

/// Looks at the complete file that has waited longest only after a pause, because the search for its messages fails.
pub async fn postpone_search(db: &impl ConnectionTrait, pause_s: i64) -> Result<(), DbErr> {
    let sql = "UPDATE files SET due_at = now() + make_interval(secs => $1) WHERE id IN \
        (SELECT id FROM files WHERE state IN ('ready', 'held', 'rejected') AND due_at <= now() ORDER BY due_at LIMIT 1 \
         FOR UPDATE SKIP LOCKED)";
    db.execute_raw(statement(sql, [seconds(pause_s).into()])).await.map(drop)
}

/// Files that are marked for removal and due. They never come back, so no lock is needed.
pub async fn marked(db: &impl ConnectionTrait) -> Result<Vec<RemovedFile>, DbErr> {
    let sql = "SELECT id, upload_id, emptied_at IS NOT NULL AS is_emptied FROM files \
        WHERE state = 'removed' AND due_at <= now() ORDER BY due_at LIMIT $1";
    RemovedFile::find_by_statement(statement(sql, [BATCH_ROWS.into()])).all(db).await
}

/// Records that the content of files was removed. It is removed once more after a pause.
pub async fn record_emptied(db: &impl ConnectionTrait, files: &[FileId], pause_s: i64) -> Result<(), DbErr> {
    let sql = "UPDATE files SET emptied_at = now(), due_at = now() + make_interval(secs => $2) \
        WHERE id = ANY ($1) AND state = 'removed'";
    let ids: Vec<String> = files.iter().map(FileId::to_string).collect();
    db.execute_raw(statement(sql, [ids.into(), seconds(pause_s).into()])).await.map(drop)
}

/// Removes the rows of files whose content is removed.
pub async fn forget(db: &impl ConnectionTrait, files: &[FileId]) -> Result<(), DbErr> {
    let sql = "DELETE FROM files WHERE id = ANY ($1) AND state = 'removed'";
    let ids: Vec<String> = files.iter().map(FileId::to_string).collect();
    db.execute_raw(statement(sql, [ids.into()])).await.map(drop)
}

/// Postpones the next attempt to remove files whose content could not be removed, so that the others are not delayed.
pub async fn postpone(db: &impl ConnectionTrait, files: &[FileId], pause_s: i64) -> Result<(), DbErr> {
    let sql = "UPDATE files SET due_at = now() + make_interval(secs => $2) WHERE id = ANY ($1) AND state = 'removed'";
    let ids: Vec<String> = files.iter().map(FileId::to_string).collect();
    db.execute_raw(statement(sql, [ids.into(), seconds(pause_s).into()])).await.map(drop)
}
