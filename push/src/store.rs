//! All SQL of push notifications.

pub mod cursor;
pub mod devices;
pub mod mutes;
pub mod notice;
pub mod pending;
pub mod queue;
pub mod tickets;
pub mod told;

/// Whether a member may be notified of a message now. The statement must name the message `m`, its room `r`, the
/// membership `mb` and the user `me`. `$1` is the number of members above which only mentions count, and `$2` the longest
/// age of a message, in seconds.
macro_rules! is_notifiable {
    () => {
        "m.sender_id <> mb.user_id AND NOT m.deleted AND NOT me.blocked AND m.seq > mb.read_seq \
         AND m.at > now() - make_interval(secs => $2::float8) \
         AND ((r.member_count <= $1 AND mb.notify = 'all') OR (mb.notify <> 'none' AND mb.user_id = ANY (m.mentions))) \
         AND ((m.visible_users IS NULL AND m.visible_roles IS NULL) OR mb.user_id = ANY (m.visible_users) \
           OR mb.role = ANY (m.visible_roles)) \
         AND NOT EXISTS (SELECT FROM push_mutes x WHERE x.user_id = mb.user_id AND x.room_id = mb.room_id \
           AND (x.until IS NULL OR x.until > now()))"
    };
}

use is_notifiable;

/// Which messages lead to notifications.
#[derive(Debug, Clone, Copy)]
pub struct MessageRules {
    /// In rooms with more members only mentioned users are notified.
    pub mention_above: i64,
    /// Older messages cause no notification, in seconds.
    pub max_age_s: f64,
}
