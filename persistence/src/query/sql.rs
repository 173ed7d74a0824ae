//! Pieces of SQL that several reads share. Only text; the parameters are named in each piece.

use sea_orm::{DbBackend, Statement, Value};

pub(super) fn statement<const N: usize>(sql: &str, values: [Value; N]) -> Statement {
    Statement::from_sql_and_values(DbBackend::Postgres, sql, values)
}

/// The epoch in which the stored part of room `$room` is numbered. Nothing of a room that was never
/// seeded can be of an old epoch, so the newest opened one does for it.
macro_rules! epoch_of {
    ($room:literal) => {
        concat!(
            "COALESCE((SELECT max(e.epoch) FROM room_epochs e WHERE e.room_id = ",
            $room,
            "), (SELECT max(o.epoch) FROM epochs_opened o), 0)"
        )
    };
}

/// A CTE `me` of one row when `$2` is a member of room `$1` or `$3` (admin scope) is true, else of none:
/// the stored head, its epoch, and the role now. Read it by scalar subqueries, not by a join: then the
/// log is walked in the order of its key and stops at the limit.
macro_rules! me {
    () => {
        concat!(
            "me AS MATERIALIZED (SELECT r.head_seq, ",
            epoch_of!("$1"),
            " AS epoch, mb.role FROM rooms r \
             LEFT JOIN members mb ON mb.room_id = r.id AND mb.user_id = $2 \
             WHERE r.id = $1 AND (mb.user_id IS NOT NULL OR $3))"
        )
    };
}

/// Whether user `$2`, having the role that `$role` yields, may see a row. Without any list it is for all;
/// else for its sender and for whom the lists name.
macro_rules! visible {
    ($row:literal, $sender:literal, $role:literal) => {
        concat!(
            "((",
            $row,
            ".visible_users IS NULL AND ",
            $row,
            ".visible_roles IS NULL) OR ",
            $row,
            ".",
            $sender,
            " = $2 OR $2 = ANY (",
            $row,
            ".visible_users) OR ",
            $role,
            " = ANY (",
            $row,
            ".visible_roles))"
        )
    };
}

/// Columns of [`super::messages::MessageRow`] from a message `m` and its sender `u`, without reactions; read in this order.
macro_rules! message_columns {
    () => {
        "m.seq AS m_seq, m.id AS m_id, m.client_id AS m_client_id, m.sender_id AS m_sender_id, \
         u.name AS m_sender_name, u.picture AS m_sender_picture, m.kind AS m_kind, m.content AS m_content, \
         m.reply_to AS m_reply_to, m.attachments::text AS m_attachments, m.metadata::text AS m_metadata, \
         m.visible_users AS m_visible_users, m.visible_roles AS m_visible_roles, m.at AS m_at, \
         m.edited_at AS m_edited_at, m.deleted AS m_deleted, m.last_seq AS m_last_seq"
    };
}

/// The reactions to message `m` as user `$2` sees them: JSON text, the emoji that was given first in front, or NULL.
/// Reads as many rows as it shows, however many gave the same. Whether one's own is among them is asked by a scalar
/// subquery: an EXISTS may be planned as a hash of all that `$2` ever gave.
macro_rules! reactions {
    () => {
        "(SELECT json_agg(json_build_object('emoji', x.emoji, 'count', x.count, 'mine', COALESCE((SELECT true \
             FROM reactions o WHERE o.room_id = x.room_id AND o.seq = x.seq AND o.emoji = x.emoji AND o.user_id = $2), \
           false), 'users', f.users) ORDER BY f.first)::text \
          FROM reaction_counts x CROSS JOIN LATERAL (SELECT json_agg(g.user_id ORDER BY g.event_seq) AS users, \
              min(g.event_seq) AS first \
            FROM (SELECT rx.user_id, rx.event_seq FROM reactions rx WHERE rx.room_id = x.room_id AND rx.seq = x.seq \
              AND rx.emoji = x.emoji ORDER BY rx.event_seq LIMIT 20) g) f \
          WHERE x.room_id = m.room_id AND x.seq = m.seq) AS m_reactions"
    };
}

pub(super) use {epoch_of, me, message_columns, reactions, visible};
