//! Reads the content of a notification when it is sent, so that edits and deletions apply.

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use tidings_persistence::sql::statement;
use tidings_shared::ids::is_bidi_control;

use super::devices::{DEVICE_COLUMNS, Device};
use super::pending::Claim;
use super::{MessageRules, is_notifiable};

/// The message of a notification, and its room.
#[derive(Debug, Clone, Default, FromQueryResult)]
pub struct NoticedMessage {
    pub seq: i64,
    pub content: String,
    pub sender: Option<String>,
    pub room_kind: String,
    pub room_name: Option<String>,
    pub is_mention: bool,
    /// Unread messages of the room, counted up to 100.
    pub unread: i64,
}

impl NoticedMessage {
    /// Removes from the names what could reverse the text around them.
    #[must_use]
    pub fn without_bidi_controls(mut self) -> Self {
        for name in [&mut self.sender, &mut self.room_name].into_iter().flatten() {
            name.retain(|c| !is_bidi_control(c));
        }
        self
    }
}

/// `$3`: room, `$4`: user, `$5` and `$6`: the first and the last seq, `$7`: device. Looks no further back than 2,000 seqs.
const NOTICE_SQL: &str = concat!(
    ", n.seq, n.content, s.name AS sender, r.kind AS room_kind, r.name AS room_name, \
       COALESCE(mb.user_id = ANY (n.mentions), false) AS is_mention, \
       (SELECT count(*) FROM (SELECT FROM messages l WHERE l.room_id = r.id AND l.seq > mb.read_seq AND l.seq > n.seq - 2000 AND l.seq <= n.seq + 2000 \
          AND l.sender_id <> mb.user_id AND NOT l.deleted AND ((l.visible_users IS NULL AND l.visible_roles IS NULL) \
            OR mb.user_id = ANY (l.visible_users) OR mb.role = ANY (l.visible_roles)) LIMIT 100) c) AS unread \
     FROM rooms r JOIN members mb ON mb.room_id = r.id AND mb.user_id = $4 JOIN users me ON me.id = mb.user_id \
     JOIN push_devices d ON d.id = $7 AND d.user_id = mb.user_id \
     CROSS JOIN LATERAL (SELECT m.* FROM messages m WHERE m.room_id = r.id AND m.seq >= GREATEST($5, $6 - 2000) \
       AND m.seq <= $6 AND ",
    is_notifiable!(),
    " ORDER BY m.seq DESC LIMIT 1) n LEFT JOIN users s ON s.id = n.sender_id WHERE r.id = $3"
);

/// The newest message of a claim that the user may be notified of now, and the device as it is now. None if there is none,
/// because the messages were read, deleted or hidden, because the user has left or muted the room, or because the device is
/// gone or belongs to another user.
pub async fn message(
    db: &impl ConnectionTrait,
    claim: &Claim,
    rules: MessageRules,
) -> Result<Option<(NoticedMessage, Device)>, DbErr> {
    let values = [
        rules.mention_above.into(),
        rules.max_age_s.into(),
        claim.room.as_str().into(),
        claim.device.user.as_str().into(),
        claim.first_seq.into(),
        claim.seq.into(),
        claim.device.id.as_str().into(),
    ];
    let sql = format!("SELECT {DEVICE_COLUMNS}{NOTICE_SQL}");
    let row = db.query_one_raw(statement(&sql, values)).await?;
    row.map(|row| {
        let message = NoticedMessage::from_query_result(&row, "")?;
        Ok((message.without_bidi_controls(), Device::from_query_result(&row, "")?))
    })
    .transpose()
}
