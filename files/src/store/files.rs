//! Reads and changes single files.

use sea_orm::{
    ColIdx, ConnectionTrait, DatabaseConnection, DbErr, FromQueryResult, QueryResult, TransactionTrait,
    TryGetError, TryGetable,
};
use tidings_persistence::sql::{IdColumn, scalar, statement};
use tidings_shared::ids::FileId;
use tidings_shared::message::Dimensions;

use super::showing_message;
use crate::file::{FileState, ImageDetails, StoredFile};

pub const COLUMNS: &str = "f.id, f.room_id, f.uploader, f.name, f.media_type, f.sniffed_type, f.size, f.sha256, \
    COALESCE(f.content_size, f.size) AS content_size, f.is_cleaned, f.content_etag, f.preview_type, f.width, f.height, f.blurhash, \
    f.state, f.upload_id, f.message_seq IS NULL AS is_unreferenced, f.created_at";

/// Reads the columns [`COLUMNS`].
impl FromQueryResult for StoredFile {
    fn from_query_result(row: &QueryResult, pre: &str) -> Result<Self, DbErr> {
        let bytes = |column: &str| row.try_get::<i64>(pre, column).map(i64::unsigned_abs);
        Ok(Self {
            id: row.try_get::<IdColumn<_>>(pre, "id")?.0,
            room: row.try_get::<IdColumn<_>>(pre, "room_id")?.0,
            uploader: row.try_get::<IdColumn<_>>(pre, "uploader")?.0,
            name: row.try_get(pre, "name")?,
            media_type: row.try_get(pre, "media_type")?,
            sniffed_type: row.try_get(pre, "sniffed_type")?,
            size: bytes("size")?,
            content_size: bytes("content_size")?,
            is_cleaned: row.try_get(pre, "is_cleaned")?,
            content_etag: row.try_get(pre, "content_etag")?,
            sha256: row.try_get(pre, "sha256")?,
            image: read_image(row, pre)?,
            state: row.try_get(pre, "state")?,
            upload_id: row.try_get(pre, "upload_id")?,
            is_unreferenced: row.try_get(pre, "is_unreferenced")?,
            created_at: row.try_get(pre, "created_at")?,
        })
    }
}

fn read_image(row: &QueryResult, pre: &str) -> Result<Option<ImageDetails>, DbErr> {
    let Some(preview_type) = row.try_get::<Option<String>>(pre, "preview_type")? else { return Ok(None) };
    let side = |column: &str| {
        let pixels: i32 = row.try_get(pre, column)?;
        u16::try_from(pixels).map_err(|error| DbErr::Custom(format!("{column}: {error}")))
    };
    let dimensions = Dimensions { width: side("width")?, height: side("height")? };
    Ok(Some(ImageDetails { preview_type, dimensions, blurhash: row.try_get(pre, "blurhash")? }))
}

impl TryGetable for FileState {
    fn try_get_by<I: ColIdx>(row: &QueryResult, index: I) -> Result<Self, TryGetError> {
        let name = String::try_get_by(row, index)?;
        Self::parse(&name).ok_or_else(|| DbErr::Custom(format!("state {name}")).into())
    }
}

/// A file; None if it does not exist or is being removed.
pub async fn get(db: &impl ConnectionTrait, id: &FileId) -> Result<Option<StoredFile>, DbErr> {
    let sql = format!("SELECT {COLUMNS} FROM files f WHERE f.id = $1 AND f.state <> 'removed'");
    StoredFile::find_by_statement(statement(&sql, [id.as_str().into()])).one(db).await
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
    StoredFile::find_by_statement(statement(&sql, [limit.into()])).all(db).await
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
    match StoredFile::find_by_statement(statement(&sql, values)).one(db).await? {
        Some(file) => Ok(Some(file)),
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
        " FROM files f WHERE f.id = $1 AND f.state <> 'removed' FOR UPDATE OF f"
    );
    let named_by: Option<Option<i64>> = scalar(&transaction, statement(sql, [id.as_str().into()])).await?;
    let Some(named_by) = named_by else { return Ok(GivenUp::Unknown) };
    if let Some(seq) = named_by {
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
