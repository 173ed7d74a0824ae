//! Users as their tokens tell of them.

use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::{ids::UserId, membership::Account};

use super::sql::statement;

/// Creates the user, or takes over what is given and differs.
///
/// # Errors
/// When the database cannot be written.
pub async fn connect(
    db: &impl ConnectionTrait,
    user: &UserId,
    name: Option<&str>,
    picture: Option<&str>,
) -> Result<Account, DbErr> {
    let (name, picture) = (name.map(storable), picture.map(storable));
    // The row comes back from the first part when it was written, else from the second: most connects change
    // nothing and then write nothing.
    let row = db
        .query_one_raw(statement(
            "WITH known AS (SELECT name, picture, blocked FROM users WHERE id = $1 \
               AND ($2::text IS NULL OR name IS NOT DISTINCT FROM $2) \
               AND ($3::text IS NULL OR picture IS NOT DISTINCT FROM $3)), \
             written AS (INSERT INTO users (id, name, picture) SELECT $1, $2, $3 \
               WHERE NOT EXISTS (SELECT FROM known) \
               ON CONFLICT (id) DO UPDATE SET name = COALESCE(EXCLUDED.name, users.name), \
                 picture = COALESCE(EXCLUDED.picture, users.picture), updated_at = now() \
               RETURNING name, picture, blocked) \
             SELECT * FROM written UNION ALL SELECT * FROM known",
            [user.as_str().into(), name.into(), picture.into()],
        ))
        .await?
        .ok_or_else(|| DbErr::Custom("an upsert returned no row".to_owned()))?;
    Ok(Account {
        name: row.try_get_by_index(0)?,
        picture: row.try_get_by_index(1)?,
        blocked: row.try_get_by_index(2)?,
    })
}

/// PostgreSQL's text holds no NUL.
fn storable(text: &str) -> String {
    text.replace('\0', "")
}
