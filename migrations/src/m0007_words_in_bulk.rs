//! The words of messages go into their index in bulk: one by one each word of a message rewrites the list of those that
//! have it, which was most of what PostgreSQL wrote for a message.

use async_trait::async_trait;
use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

/// New words wait in a list, which a question reads from end to end: so it is kept short, in kB.
const UP: &str = "ALTER INDEX message_search_words SET (fastupdate = on, gin_pending_list_limit = 256)";

/// What still waits would wait for a vacuum, and be read by each question until then.
const DOWN: &str = "ALTER INDEX message_search_words SET (fastupdate = off); \
    ALTER INDEX message_search_words RESET (gin_pending_list_limit); \
    SELECT gin_clean_pending_list('message_search_words')";

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(UP).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(DOWN).await.map(drop)
    }
}
