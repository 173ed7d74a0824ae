//! The received parts of uploads that pass through this service to a bucket. The bucket has their bytes.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, FromQueryResult, TransactionTrait};
use tidings_persistence::sql::statement;
use tidings_shared::ids::FileId;

/// Records a received part with the identifier that the bucket gave to its content. Replaces an earlier one with this
/// number. Returns false if the upload has ended or was replaced.
pub async fn record(
    db: &impl ConnectionTrait,
    file: &FileId,
    upload: &str,
    number: u16,
    etag: &str,
) -> Result<bool, DbErr> {
    // The lock of the row orders this and `forget_upload`.
    let sql = "INSERT INTO file_parts (file_id, number, etag) \
        SELECT f.id, $3, $4 FROM files f WHERE f.id = $1 AND f.state = 'uploading' AND f.upload_id = $2 FOR SHARE \
        ON CONFLICT (file_id, number) DO UPDATE SET etag = excluded.etag";
    let values = [file.as_str().into(), upload.into(), i32::from(number).into(), etag.into()];
    Ok(db.execute_raw(statement(sql, values)).await?.rows_affected() == 1)
}

/// Whether a part of a file is recorded.
pub async fn is_recorded(db: &impl ConnectionTrait, file: &FileId, number: u16) -> Result<bool, DbErr> {
    let sql = "SELECT 1 FROM file_parts WHERE file_id = $1 AND number = $2";
    let values = [file.as_str().into(), i32::from(number).into()];
    Ok(db.query_one_raw(statement(sql, values)).await?.is_some())
}

#[derive(FromQueryResult)]
struct ReceivedPart {
    number: i32,
    etag: String,
}

/// The etags of the received parts of a file, by part number.
pub async fn received(db: &impl ConnectionTrait, file: &FileId) -> Result<BTreeMap<u16, String>, DbErr> {
    let sql = "SELECT number, etag FROM file_parts WHERE file_id = $1";
    let parts = ReceivedPart::find_by_statement(statement(sql, [file.as_str().into()])).all(db).await?;
    let numbered = |ReceivedPart { number, etag }| {
        u16::try_from(number).map(|number| (number, etag)).map_err(|error| DbErr::Custom(error.to_string()))
    };
    parts.into_iter().map(numbered).collect()
}

/// Removes the id and the parts of an upload that the bucket does not have any more. The next request begins another one.
pub async fn forget_upload(db: &DatabaseConnection, file: &FileId, upload: &str) -> Result<(), DbErr> {
    let transaction = db.begin().await?;
    let sql = "UPDATE files SET upload_id = NULL WHERE id = $1 AND state = 'uploading' AND upload_id = $2";
    let forgotten = transaction.execute_raw(statement(sql, [file.as_str().into(), upload.into()])).await?;
    if forgotten.rows_affected() == 1 {
        // A statement of its own sees the parts that were recorded while this transaction waited for the row.
        let sql = "DELETE FROM file_parts WHERE file_id = $1";
        transaction.execute_raw(statement(sql, [file.as_str().into()])).await?;
    }
    transaction.commit().await
}
