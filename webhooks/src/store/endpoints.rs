//! The table of endpoints.

use chrono::{DateTime, Utc};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{LockBehavior, LockType};
use sea_orm::{QueryOrder, QuerySelect, Set, UpdateMany};
use tidings_persistence::sql::statement;

/// A registered endpoint.
#[derive(Debug, Clone, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "webhooks")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub url: String,
    pub description: String,
    /// Only events of these rooms; all if empty. In the order of their ids.
    pub rooms: Vec<String>,
    /// Only events of these types; all if empty.
    pub types: Vec<String>,
    /// Whether an event waits until the earlier events of its room are delivered or dead.
    pub ordered: bool,
    pub disabled_because: Option<String>,
    pub secret: String,
    pub previous_secret: Option<String>,
    /// Until when deliveries are also signed with the previous secret.
    pub previous_until: Option<DateTime<Utc>>,
    /// The position of this endpoint in the feed.
    pub cursor: String,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// The table has no relations that statements follow.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// All endpoints, in the order in which they were registered.
pub async fn list(db: &impl ConnectionTrait) -> Result<Vec<Model>, DbErr> {
    Entity::find().order_by_asc(Column::CreatedAt).order_by_asc(Column::Id).all(db).await
}

pub async fn get(db: &impl ConnectionTrait, id: &str) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id(id).one(db).await
}

/// Locks an endpoint for the rest of the transaction. Waits for other holders.
pub async fn lock(db: &impl ConnectionTrait, id: &str) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id(id).lock_exclusive().one(db).await
}

/// Locks an enabled endpoint for the rest of the transaction. None if it is disabled or deleted, or if another replica
/// holds it.
pub async fn lock_enabled(db: &impl ConnectionTrait, id: &str) -> Result<Option<Model>, DbErr> {
    let enabled = Entity::find_by_id(id).filter(Column::DisabledBecause.is_null());
    enabled.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked).one(db).await
}

/// Stores a new endpoint if there are fewer than `limit`. The lock makes simultaneous requests count each other.
pub async fn insert(db: &impl ConnectionTrait, new: &Model, limit: i64) -> Result<bool, DbErr> {
    db.execute_unprepared("LOCK TABLE webhooks IN SHARE ROW EXCLUSIVE MODE").await?;
    let sql = "INSERT INTO webhooks (id, url, description, rooms, types, ordered, secret, cursor) \
        SELECT $1, $2, $3, $4, $5, $6, $7, $8 WHERE (SELECT count(*) FROM webhooks) < $9";
    let values = [
        new.id.as_str().into(),
        new.url.as_str().into(),
        new.description.as_str().into(),
        new.rooms.clone().into(),
        new.types.clone().into(),
        new.ordered.into(),
        new.secret.as_str().into(),
        new.cursor.as_str().into(),
        limit.into(),
    ];
    Ok(db.execute_raw(statement(sql, values)).await?.rows_affected() == 1)
}

/// Stores the fields that an admin may change. Returns the changed endpoint, or None if the id is unknown.
pub async fn update(db: &impl ConnectionTrait, changed: &Model) -> Result<Option<Model>, DbErr> {
    let fields = ActiveModel {
        url: Set(changed.url.clone()),
        description: Set(changed.description.clone()),
        rooms: Set(changed.rooms.clone()),
        types: Set(changed.types.clone()),
        ordered: Set(changed.ordered),
        disabled_because: Set(changed.disabled_because.clone()),
        ..Default::default()
    };
    change(db, &changed.id, Entity::update_many().set(fields)).await
}

/// Replaces the secret. The secret before it stays valid for `overlap_s` seconds.
pub async fn rotate(
    db: &impl ConnectionTrait,
    id: &str,
    secret: &str,
    overlap_s: i64,
) -> Result<Option<Model>, DbErr> {
    #[allow(clippy::cast_precision_loss, reason = "the number is small")]
    let until = Expr::cust_with_values("now() + make_interval(secs => $1)", [overlap_s as f64]);
    let fields = Entity::update_many()
        .col_expr(Column::PreviousSecret, Expr::col(Column::Secret))
        .col_expr(Column::PreviousUntil, until)
        .col_expr(Column::Secret, Expr::value(secret));
    change(db, id, fields).await
}

/// Changes fields of an endpoint.
async fn change(
    db: &impl ConnectionTrait,
    id: &str,
    fields: UpdateMany<Entity>,
) -> Result<Option<Model>, DbErr> {
    let changed = fields.col_expr(Column::UpdatedAt, Expr::current_timestamp()).filter(Column::Id.eq(id));
    Ok(changed.exec_with_returning(db).await?.pop())
}

/// Disables an enabled endpoint, with `url` only if it still has this URL. Returns whether the endpoint was disabled.
pub async fn disable(
    db: &impl ConnectionTrait,
    id: &str,
    reason: &str,
    url: Option<&str>,
) -> Result<bool, DbErr> {
    let sql = "UPDATE webhooks SET disabled_because = $2, updated_at = now() \
        WHERE id = $1 AND disabled_because IS NULL AND url = COALESCE($3, url)";
    let values = [id.into(), reason.into(), url.into()];
    Ok(db.execute_raw(statement(sql, values)).await?.rows_affected() == 1)
}

/// Stores the cursor after a page. The caller holds the lock of the endpoint.
pub async fn set_cursor(db: &impl ConnectionTrait, id: &str, cursor: &str) -> Result<(), DbErr> {
    let sql = "UPDATE webhooks SET cursor = $2 WHERE id = $1";
    db.execute_raw(statement(sql, [id.into(), cursor.into()])).await.map(drop)
}

/// Deletes an endpoint with its deliveries. Returns whether there was one.
pub async fn delete(db: &impl ConnectionTrait, id: &str) -> Result<bool, DbErr> {
    Ok(Entity::delete_by_id(id).exec(db).await?.rows_affected == 1)
}
