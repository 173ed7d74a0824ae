//! Reads and changes single files.

use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, QueryResult, TransactionTrait};
use tidings_persistence::sql::{room_column, statement, user_column};
use tidings_shared::ids::FileId;
use tidings_shared::message::Dimensions;

use super::showing_message;
use crate::file::{FileState, ImageDetails, StoredFile};

pub const COLUMNS: &str = "f.id, f.room_id, f.uploader, f.name, f.media_type, f.sniffed_type, f.size, f.sha256, \
    COALESCE(f.content_size, f.size) AS content_size, f.is_cleaned, f.content_etag, f.preview_type, f.width, f.height, f.blurhash, \
    f.state, f.upload_id, f.message_seq IS NULL AS is_unreferenced, f.created_at";

/// Reads a row with [`COLUMNS`].
pub fn read_file(row: &QueryResult) -> Result<StoredFile, DbErr> {
    let (id, state): (String, String) = (row.try_get_by("id")?, row.try_get_by("state")?);
    let (size, content_size): (i64, i64) = (row.try_get_by("size")?, row.try_get_by("content_size")?);
    Ok(StoredFile {
        id: FileId::parse(&id).map_err(|error| DbErr::Custom(error.to_string()))?,
        room: room_column(row, "room_id")?,
        uploader: user_column(row, "uploader")?,
        name: row.try_get_by("name")?,
        media_type: row.try_get_by("media_type")?,
        sniffed_type: row.try_get_by("sniffed_type")?,
        size: size.unsigned_abs(),
        content_size: content_size.unsigned_abs(),
        is_cleaned: row.try_get_by("is_cleaned")?,
        content_etag: row.try_get_by("content_etag")?,
        sha256: row.try_get_by("sha256")?,
        image: read_image(row)?,
        state: FileState::parse(&state).ok_or_else(|| DbErr::Custom(format!("state {state}")))?,
        upload_id: row.try_get_by("upload_id")?,
        is_unreferenced: row.try_get_by("is_unreferenced")?,
        created_at: row.try_get_by("created_at")?,
    })
}

fn read_image(row: &QueryResult) -> Result<Option<ImageDetails>, DbErr> {
    let Some(preview_type) = row.try_get_by::<Option<String>, _>("preview_type")? else { return Ok(None) };
    let side = |column: &str| {
        let pixels: i32 = row.try_get_by(column)?;
        u16::try_from(pixels).map_err(|error| DbErr::Custom(format!("{column}: {error}")))
    };
    let dimensions = Dimensions { width: side("width")?, height: side("height")? };
    Ok(Some(ImageDetails { preview_type, dimensions, blurhash: row.try_get_by("blurhash")? }))
}

/// A file; None if it does not exist or is being removed.
pub async fn get(db: &impl ConnectionTrait, id: &FileId) -> Result<Option<StoredFile>, DbErr> {
    let sql = format!("SELECT {COLUMNS} FROM files f WHERE f.id = $1 AND f.state <> 'removed'");
    let row = db.query_one_raw(statement(&sql, [id.as_str().into()])).await?;
    row.as_ref().map(read_file).transpose()
}

/// Remembers the etag of the checked content of a file.
pub async fn replace_etag(db: &impl ConnectionTrait, id: &FileId, etag: Option<&str>) -> Result<(), DbErr> {
    let sql = "UPDATE files SET content_etag = $2 WHERE id = $1 AND NOT is_cleaned";
    db.execute_raw(statement(sql, [id.as_str().into(), etag.map(str::to_owned).into()])).await.map(drop)
}

/// The files that wait for an admin, those that wait longest first.
pub async fn list_held(db: &impl ConnectionTrait, limit: i64) -> Result<Vec<StoredFile>, DbErr> {
    let sql = format!(
        "SELECT {COLUMNS} FROM files f WHERE f.state = 'held' ORDER BY f.completed_at, f.id LIMIT $1"
    );
    db.query_all_raw(statement(&sql, [limit.into()])).await?.iter().map(read_file).collect()
}

/// Remembers the message that names a file, so that the sweep finds it at once.
pub async fn remember_message(db: &impl ConnectionTrait, id: &FileId, seq: i64) -> Result<(), DbErr> {
    let sql = "UPDATE files SET message_seq = $2, unused_since = NULL WHERE id = $1 AND message_seq IS NULL";
    db.execute_raw(statement(sql, [id.as_str().into(), seq.into()])).await.map(drop)
}

/// Changes the state of a file from one of `from`. Returns the file as it is now; its state is another one if it was in
/// none of `from`. None if there is no such file.
pub async fn change_state(
    db: &impl ConnectionTrait,
    id: &FileId,
    from: &[FileState],
    to: FileState,
) -> Result<Option<StoredFile>, DbErr> {
    let sql =
        format!("UPDATE files f SET state = $3 WHERE f.id = $1 AND f.state = ANY ($2) RETURNING {COLUMNS}");
    let from: Vec<String> = from.iter().map(|state| state.name().to_owned()).collect();
    let values = [id.as_str().into(), from.into(), to.name().into()];
    match db.query_one_raw(statement(&sql, values)).await? {
        Some(row) => read_file(&row).map(Some),
        None => get(db, id).await,
    }
}

/// Result of [`give_up`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenUp {
    Removed,
    /// A stored message names the file.
    Named,
    Unknown,
}

/// Marks a file for removal unless a stored message names it. The sweep removes its row.
pub async fn give_up(db: &DatabaseConnection, id: &FileId) -> Result<GivenUp, DbErr> {
    let transaction = db.begin().await?;
    let sql = concat!(
        "SELECT ",
        showing_message!("f"),
        " AS named_by FROM files f WHERE f.id = $1 AND f.state <> 'removed' FOR UPDATE OF f"
    );
    let Some(row) = transaction.query_one_raw(statement(sql, [id.as_str().into()])).await? else {
        return Ok(GivenUp::Unknown);
    };
    if let Some(seq) = row.try_get_by::<Option<i64>, _>("named_by")? {
        // The next request finds the message at once.
        remember_message(&transaction, id, seq).await?;
        transaction.commit().await?;
        return Ok(GivenUp::Named);
    }
    let sql = "UPDATE files SET state = 'removed', due_at = now() WHERE id = $1";
    transaction.execute_raw(statement(sql, [id.as_str().into()])).await?;
    transaction.commit().await?;
    Ok(GivenUp::Removed)
}
