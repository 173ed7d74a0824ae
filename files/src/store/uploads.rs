//! Begins and completes uploads.

use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, FromQueryResult, TransactionTrait};
use tidings_persistence::sql::{scalar, statement};
use tidings_shared::ids::{FileId, RoomId, UserId};

use super::files::COLUMNS;
use crate::file::{FileState, ImageDetails, StoredFile};

/// How much one user and one room may store.
#[derive(Debug, Clone, Copy)]
pub struct StorageLimits {
    pub user_bytes: i64,
    pub user_files: i64,
    /// Uploads of a user that are not complete.
    pub user_uploads: i64,
    pub room_bytes: i64,
}

/// The files of one user and the bytes of one room, which the limits count.
#[derive(FromQueryResult)]
struct StorageUse {
    files: i64,
    bytes: i64,
    uploads: i64,
    room_bytes: i64,
}

/// A limit that a new file would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExceededLimit {
    UserBytes,
    UserFiles,
    UserUploads,
    RoomBytes,
}

/// What a client declares about a new file.
pub struct NewFile<'a> {
    pub id: &'a FileId,
    pub room: &'a RoomId,
    pub uploader: &'a UserId,
    pub name: &'a str,
    pub media_type: &'a str,
    pub size: i64,
    pub sha256: &'a str,
    /// How long the upload may take, in seconds.
    pub timeout_s: i64,
}

/// Stores a new file, unless it exceeds a limit. Simultaneous requests of a user, and in a room, count each other: the
/// locks are taken in one order and end with the transaction.
pub async fn begin(
    db: &DatabaseConnection,
    new: &NewFile<'_>,
    limits: StorageLimits,
) -> Result<Result<StoredFile, ExceededLimit>, DbErr> {
    let transaction = db.begin().await?;
    for (kind, id) in [("user", new.uploader.as_str()), ("room", new.room.as_str())] {
        let sql = "SELECT pg_advisory_xact_lock(hashtextextended('tidings-files ' || $1 || ' ' || $2, 0))";
        transaction.execute_raw(statement(sql, [kind.into(), id.into()])).await?;
    }
    // A rejected file has no content, and one that is being removed will have none soon.
    let sql = "SELECT count(*) AS files, COALESCE(sum(size), 0)::bigint AS bytes, \
          count(*) FILTER (WHERE state = 'uploading') AS uploads, \
          (SELECT COALESCE(sum(size), 0)::bigint FROM files \
            WHERE room_id = $2 AND state IN ('uploading', 'ready', 'held')) AS room_bytes \
        FROM files WHERE uploader = $1 AND state IN ('uploading', 'ready', 'held')";
    let used = statement(sql, [new.uploader.as_str().into(), new.room.as_str().into()]);
    let used = StorageUse::find_by_statement(used).require_one(&transaction).await?;
    for (is_exceeded, limit) in [
        (used.uploads >= limits.user_uploads, ExceededLimit::UserUploads),
        (used.files >= limits.user_files, ExceededLimit::UserFiles),
        (used.bytes.saturating_add(new.size) > limits.user_bytes, ExceededLimit::UserBytes),
        (used.room_bytes.saturating_add(new.size) > limits.room_bytes, ExceededLimit::RoomBytes),
    ] {
        if is_exceeded {
            return Ok(Err(limit));
        }
    }
    let sql = format!(
        "INSERT INTO files AS f (id, room_id, uploader, name, media_type, size, sha256, state, after_seq, due_at) \
         SELECT $1, r.id, $3, $4, $5, $6, $7, 'uploading', r.head_seq, now() + make_interval(secs => $8) \
         FROM rooms r WHERE r.id = $2 RETURNING {COLUMNS}"
    );
    let values = [
        new.id.as_str().into(),
        new.room.as_str().into(),
        new.uploader.as_str().into(),
        new.name.into(),
        new.media_type.into(),
        new.size.into(),
        new.sha256.into(),
        seconds(new.timeout_s).into(),
    ];
    let file = StoredFile::find_by_statement(statement(&sql, values)).one(&transaction).await?;
    transaction.commit().await?;
    file.map(Ok).ok_or_else(|| DbErr::Custom("the room does not exist".to_owned()))
}

/// Whether a room is archived; false if it does not exist.
pub async fn is_archived(db: &impl ConnectionTrait, room: &RoomId) -> Result<bool, DbErr> {
    let sql = "SELECT archived FROM rooms WHERE id = $1";
    Ok(scalar(db, statement(sql, [room.as_str().into()])).await?.unwrap_or_default())
}

/// What is stored about an upload when it is completed.
pub struct Completion<'a> {
    pub state: FileState,
    pub media_type: &'a str,
    pub sniffed_type: Option<&'a str>,
    /// The size of the stored content, in bytes.
    pub content_size: i64,
    /// Whether the content is derived from the upload, which is removed.
    pub is_cleaned: bool,
    /// Identifies the content in a bucket.
    pub content_etag: Option<String>,
    pub image: Option<&'a ImageDetails>,
    /// When the sweep looks for the message, in seconds.
    pub check_after_s: i64,
}

/// Completes an upload. None if another request has completed or removed it.
pub async fn complete(
    db: &impl ConnectionTrait,
    id: &FileId,
    completion: &Completion<'_>,
) -> Result<Option<StoredFile>, DbErr> {
    let sql = format!(
        "WITH parts AS (DELETE FROM file_parts WHERE file_id = $1) \
         UPDATE files f SET state = $2, media_type = $3, sniffed_type = $4, completed_at = now(), \
           upload_id = NULL, due_at = now() + make_interval(secs => $5), content_size = $6, \
           preview_type = $7, width = $8, height = $9, blurhash = $10, is_cleaned = $11, content_etag = $12 \
         WHERE f.id = $1 AND f.state = 'uploading' RETURNING {COLUMNS}"
    );
    let image = completion.image;
    let values = [
        id.as_str().into(),
        completion.state.name().into(),
        completion.media_type.into(),
        completion.sniffed_type.map(str::to_owned).into(),
        seconds(completion.check_after_s).into(),
        completion.content_size.into(),
        image.map(|image| image.preview_type.clone()).into(),
        image.map(|image| i32::from(image.dimensions.width)).into(),
        image.map(|image| i32::from(image.dimensions.height)).into(),
        image.and_then(|image| image.blurhash.clone()).into(),
        completion.is_cleaned.into(),
        completion.content_etag.clone().into(),
    ];
    StoredFile::find_by_statement(statement(&sql, values)).one(db).await
}

/// Replaces the multipart upload of a file, if it is still `old`. Returns false if another request has replaced it, or
/// the upload has ended.
pub async fn replace_upload(
    db: &impl ConnectionTrait,
    id: &FileId,
    old: Option<&str>,
    new: &str,
) -> Result<bool, DbErr> {
    let sql = "UPDATE files SET upload_id = $3 \
        WHERE id = $1 AND state = 'uploading' AND upload_id IS NOT DISTINCT FROM $2";
    let values = [id.as_str().into(), old.map(str::to_owned).into(), new.into()];
    Ok(db.execute_raw(statement(sql, values)).await?.rows_affected() == 1)
}

/// Ends an upload whose content is refused. The sweep removes its row. Returns false if another request has ended it.
pub async fn refuse(db: &impl ConnectionTrait, id: &FileId) -> Result<bool, DbErr> {
    let sql = "UPDATE files SET state = 'removed', due_at = now() WHERE id = $1 AND state = 'uploading'";
    Ok(db.execute_raw(statement(sql, [id.as_str().into()])).await?.rows_affected() == 1)
}

/// `make_interval` takes seconds as a floating-point number.
#[allow(clippy::cast_precision_loss, reason = "the settings limit the number to ten years")]
pub fn seconds(seconds: i64) -> f64 {
    seconds as f64
}
