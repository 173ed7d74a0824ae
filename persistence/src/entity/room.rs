//! A room and the stored head of its log.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "rooms")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub partition: i16,
    /// `direct`, `private` or `public`.
    pub kind: String,
    pub name: Option<String>,
    pub created_by: String,
    pub created_at: DateTimeUtc,
    /// Time of the last activity; lists of rooms are ordered by it.
    pub updated_at: DateTimeUtc,
    pub archived: bool,
    /// JSON text, kept byte for byte.
    #[sea_orm(select_as = "text", save_as = "json")]
    pub metadata: String,
    /// The two user ids of a direct room, sorted, joined with U+001F; NULL in other rooms.
    #[sea_orm(unique)]
    pub direct_key: Option<String>,
    pub member_count: i32,
    /// Events 1..=head_seq are stored without a hole.
    pub head_seq: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
