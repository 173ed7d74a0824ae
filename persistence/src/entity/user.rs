//! A person or machine that has connected, or was named as a member before it ever did.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// None until the user first came with a token that tells it.
    pub name: Option<String>,
    pub picture: Option<String>,
    pub blocked: bool,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
    /// Since when they are being erased, or were: from then on nothing is taken over of them.
    pub erasing_at: Option<DateTimeUtc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(has_many = "super::member::Entity")]
    Member,
}

impl Related<super::member::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Member.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
