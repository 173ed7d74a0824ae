//! The room object of HTTP answers, and one room with a member's state in it. Reads `rooms`, `members` and `messages`.
//! Counting of unread messages stops one above [`MAX_UNREAD_COUNT`]; every read is bounded.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, QueryResult};
use serde::{Deserialize, Serialize};
use tidings_shared::ids::RoomId;
use tidings_shared::openapi::{MetadataForm, SlowModeForm};
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::access::Viewer;
use super::json::{Head, RawJson, serialize_time};
use super::messages::Message;
use super::sql::{epoch_of, message_bytes, message_columns, reactions, visible};
use crate::sql::statement;

/// The kind of a room: `direct` (with exactly two members), `private` or `public`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum RoomKind {
    Direct,
    Private,
    Public,
}

impl RoomKind {
    /// The name of the kind in answers and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Private => "private",
            Self::Public => "public",
        }
    }

    /// Parses the name of a kind; None if there is no kind of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Direct, Self::Private, Self::Public].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// For which messages of a room a member wants notifications. The server only stores the level: it delivers everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotifyLevel {
    All,
    /// Only for messages that mention the member.
    Mentions,
    None,
}

impl NotifyLevel {
    /// The name of the level in answers and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Mentions => "mentions",
            Self::None => "none",
        }
    }
}

/// A room, as HTTP answers contain it.
#[derive(Debug, Serialize, ToSchema, FromQueryResult)]
pub struct Room {
    pub room: String,
    #[schema(value_type = RoomKind)]
    pub kind: String,
    #[schema(required)]
    pub name: Option<String>,
    pub created_by: String,
    #[serde(serialize_with = "serialize_time")]
    pub created_at: DateTime<Utc>,
    /// When the last message or change of the room was appended.
    #[serde(serialize_with = "serialize_time")]
    pub updated_at: DateTime<Utc>,
    pub archived: bool,
    #[schema(value_type = SlowModeForm)]
    pub slow_mode_s: i32,
    #[schema(value_type = MetadataForm)]
    pub metadata: RawJson,
    /// The number of members.
    pub members: i32,
    /// My role; null for an admin who is not a member. Omitted in the list of public rooms.
    #[serde(skip_serializing_if = "Role::is_omitted")]
    #[schema(value_type = Option<String>, required = false)]
    #[sea_orm(skip)]
    pub role: Role,
    #[sea_orm(nested)]
    pub head: Head,
}

/// The viewer's role in a room.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Role {
    /// The answer does not contain the role.
    #[default]
    Omitted,
    Included(Option<String>),
}

impl Role {
    fn is_omitted(&self) -> bool {
        *self == Self::Omitted
    }
}

/// A room of which I am a member, and my state in it.
#[derive(Debug, Serialize, ToSchema, FromQueryResult)]
pub struct MyRoom {
    #[serde(flatten)]
    #[sea_orm(nested)]
    pub room: Room,
    /// The last message that I may see; null if it is more than 2,000 seqs before the room's last message.
    #[schema(required)]
    #[sea_orm(skip)]
    pub last_message: Option<Message>,
    /// The number of messages of others above `read_seq` that I may see and that are not deleted, at most 100. Counted
    /// in the first 2,000 seqs from the first message above `read_seq`.
    pub unread: i64,
    /// Whether there may be more unread messages than `unread`.
    pub unread_capped: bool,
    /// The number of these unread messages that mention me, at most 100.
    pub unread_mentions: i64,
    pub read_seq: i64,
    /// For which messages I want notifications. Nobody else sees it.
    #[schema(value_type = NotifyLevel)]
    pub notify: String,
}

/// A room in the form that the viewer gets.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum RoomAnswer {
    Member(Box<MyRoom>),
    /// The answer to an admin who is not a member.
    NonMember(Room),
}

// Not derived: a derived schema would demand that exactly one variant matches, but each `MyRoom` also matches `Room`.
impl PartialSchema for RoomAnswer {
    fn schema() -> RefOr<Schema> {
        let either = AnyOfBuilder::new().item(Ref::from_schema_name(MyRoom::name()));
        let either = either.item(Ref::from_schema_name(Room::name()));
        either.description(Some("For an admin who is not a member the plain room.")).into()
    }
}

impl ToSchema for RoomAnswer {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((MyRoom::name().into_owned(), MyRoom::schema()));
        MyRoom::schemas(schemas);
    }
}

/// Highest number of unread messages that is reported. If there are more, `unread_capped` is true. Unread mentions are
/// counted up to the same number.
pub const MAX_UNREAD_COUNT: i64 = 100;

/// The columns of [`Room`] from a row `r` of `rooms`, each prefixed with `r_`.
macro_rules! room_columns {
    () => {
        concat!(
            "r.id AS r_room, r.kind AS r_kind, r.name AS r_name, r.created_by AS r_created_by, \
             r.created_at AS r_created_at, r.updated_at AS r_updated_at, r.archived AS r_archived, \
             r.slow_mode_s AS r_slow_mode_s, r.metadata::text AS r_metadata, r.member_count AS r_members, r.head_seq AS r_seq, ",
            epoch_of!("r.id"),
            "::text AS r_epoch"
        )
    };
}

/// Selects the rooms `$rooms` (a SELECT from `rooms` with the membership columns `role`, `read_seq` and `notify`) with
/// the columns that [`my_room`] reads: the last visible message `m` of each room, its sender `u`, the unread count
/// `n.unread` of user `$2`, at most one above the cap, and the count `a.mentions` of unread messages that mention `$2`.
/// `n.capped` is true if there may be more. A look-up spans at most 2,000 seqs of the log, including messages that `$2`
/// may not see. A range of seqs limits the look-up, because with a LIMIT the planner may first sort all messages of a
/// large room. `bytes` are the stored bytes of the columns that can be long. The mentions are counted in the index `messages_mentions`, which has only messages with mentions.
macro_rules! select_my_rooms {
    ($rooms:literal) => {
        concat!(
            "SELECT ",
            room_columns!(),
            ", r.role AS r_role, r.read_seq AS r_read_seq, r.notify AS r_notify, n.unread AS r_unread, \
              n.capped AS r_unread_capped, a.mentions AS r_unread_mentions, \
              octet_length(r.metadata::text) + COALESCE(",
            message_bytes!(),
            ", 0) AS bytes, ",
            message_columns!(),
            ", ",
            reactions!(),
            " FROM (",
            $rooms,
            ") r LEFT JOIN LATERAL (SELECT l.* FROM messages l WHERE l.room_id = r.id \
               AND l.seq > (SELECT max(w.seq) FROM messages w WHERE w.room_id = r.id) - 2000 AND ",
            visible!("l", "l.sender_id", "r.role"),
            " ORDER BY l.seq DESC LIMIT 1) m ON true \
             LEFT JOIN users u ON u.id = m.sender_id \
             LEFT JOIN LATERAL (SELECT min(w.seq) AS seq FROM messages w \
               WHERE w.room_id = r.id AND w.seq > r.read_seq) f ON true \
             LEFT JOIN LATERAL (SELECT v.unread, v.unread > 100 OR EXISTS (SELECT FROM messages w \
                 WHERE w.room_id = r.id AND w.seq >= f.seq + 2000) AS capped \
               FROM (SELECT count(*) AS unread FROM (SELECT 1 FROM messages l \
                 WHERE l.room_id = r.id AND l.seq >= f.seq AND l.seq < f.seq + 2000 \
                   AND l.sender_id <> $2 AND NOT l.deleted AND ",
            visible!("l", "l.sender_id", "r.role"),
            " LIMIT 101) c) v) n ON true \
             LEFT JOIN LATERAL (SELECT count(*) AS mentions FROM (SELECT 1 FROM messages l \
               WHERE l.room_id = r.id AND l.seq >= f.seq AND l.seq < f.seq + 2000 AND l.mentions IS NOT NULL \
                 AND $2 = ANY (l.mentions) AND l.sender_id <> $2 AND NOT l.deleted AND ",
            visible!("l", "l.sender_id", "r.role"),
            " LIMIT 100) c) a ON true"
        )
    };
}

pub(super) use {room_columns, select_my_rooms};

/// Reads a room and the viewer's state in it from a row of [`select_my_rooms!`].
pub(super) fn my_room(row: &QueryResult) -> Result<MyRoom, DbErr> {
    let mut mine = MyRoom::from_query_result(row, "r_")?;
    mine.room.role = Role::Included(row.try_get("", "r_role")?);
    mine.last_message = Message::from_row(row, &mine.room.room)?;
    mine.unread = mine.unread.min(MAX_UNREAD_COUNT);
    Ok(mine)
}

const ROOM_SQL: &str = select_my_rooms!(
    "SELECT r.*, mb.role, mb.read_seq, mb.notify FROM rooms r \
      LEFT JOIN members mb ON mb.room_id = r.id AND mb.user_id = $2 \
      WHERE r.id = $1 AND (mb.user_id IS NOT NULL OR $3)"
);

/// The room with this id; None if the viewer may not see it.
pub async fn room(
    db: &impl ConnectionTrait,
    viewer: Viewer<'_>,
    room: &RoomId,
) -> Result<Option<RoomAnswer>, DbErr> {
    let values = [room.as_str().into(), viewer.user.as_str().into(), viewer.admin.into()];
    let Some(row) = db.query_one_raw(statement(ROOM_SQL, values)).await? else { return Ok(None) };
    if row.try_get::<Option<String>>("", "r_role")?.is_none() {
        let room = Room::from_query_result(&row, "r_")?;
        return Ok(Some(RoomAnswer::NonMember(Room { role: Role::Included(None), ..room })));
    }
    my_room(&row).map(|room| Some(RoomAnswer::Member(Box::new(room))))
}

/// The room without the viewer's last message and unread count, as in the answer to its creation.
pub async fn room_without_viewer_state(
    db: &impl ConnectionTrait,
    viewer: Viewer<'_>,
    id: &RoomId,
) -> Result<Option<Room>, DbErr> {
    Ok(room(db, viewer, id).await?.map(|answer| match answer {
        RoomAnswer::Member(mine) => mine.room,
        RoomAnswer::NonMember(room) => room,
    }))
}

#[cfg(test)]
impl Room {
    /// A private room with one member, for tests.
    pub(crate) fn sample(
        id: &str,
        name: Option<&str>,
        archived: bool,
        metadata: RawJson,
        role: Option<&str>,
    ) -> Self {
        Self {
            room: id.to_owned(),
            kind: "private".to_owned(),
            name: name.map(str::to_owned),
            created_by: "alice".to_owned(),
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
            archived,
            slow_mode_s: 0,
            metadata,
            members: 1,
            role: Role::Included(role.map(str::to_owned)),
            head: Head::new(1, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(role: Role) -> Room {
        let metadata = RawJson::new(r#"{"b":1.0,"a":2}"#.into()).unwrap();
        let room = Room::sample("r", None, false, metadata, None);
        Room { kind: "public".into(), members: 2, role, head: Head::new(3, 7), ..room }
    }

    #[test]
    fn room_object_has_every_field_of_the_contract() {
        let mine = MyRoom {
            room: sample(Role::Included(Some("owner".into()))),
            last_message: None,
            unread: 100,
            unread_capped: true,
            unread_mentions: 3,
            read_seq: 2,
            notify: NotifyLevel::Mentions.as_str().into(),
        };
        assert_eq!(
            serde_json::to_string(&mine).unwrap(),
            concat!(
                r#"{"room":"r","kind":"public","name":null,"created_by":"alice","#,
                r#""created_at":"1970-01-01T00:00:00.000Z","updated_at":"1970-01-01T00:00:00.000Z","#,
                r#""archived":false,"slow_mode_s":0,"metadata":{"b":1.0,"a":2},"members":2,"role":"owner","#,
                r#""head":{"epoch":"3","seq":7},"last_message":null,"unread":100,"unread_capped":true,"#,
                r#""unread_mentions":3,"read_seq":2,"notify":"mentions"}"#
            )
        );
    }

    #[test]
    fn role_is_omitted_only_in_public_lists() {
        let text = |role| serde_json::to_string(&sample(role)).unwrap();
        assert!(!text(Role::Omitted).contains("role"));
        assert!(text(Role::Included(None)).contains(r#""role":null"#));
    }

    #[test]
    fn room_kind_parses_what_it_prints() {
        for kind in [RoomKind::Direct, RoomKind::Private, RoomKind::Public] {
            assert_eq!(RoomKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(RoomKind::parse("Direct"), None);
    }
}
