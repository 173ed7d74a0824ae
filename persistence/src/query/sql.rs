//! Fragments of SQL that several reads share. The comment of each names the parameters that it uses.

/// The epoch in which the stored events of room `$room` are numbered; `$room` is the id of the row `r`. A room that was
/// never seeded has no events of an earlier epoch, so it gets the newest epoch of its partition.
macro_rules! epoch_of {
    ($room:literal) => {
        concat!(
            "COALESCE((SELECT max(e.epoch) FROM room_epochs e WHERE e.room_id = ",
            $room,
            "), ",
            $crate::sql::newest_epoch!("r.partition"),
            ", 0)"
        )
    };
}

/// A CTE `me` with the stored head of room `$1`, its partition and epoch, and the role of user `$2` in it. It has one row
/// if `$2` is a member or `$3` (admin scope) is true, otherwise none. Read `me` with scalar subqueries instead of a
/// join. Then PostgreSQL scans the log in the order of its key and stops at the limit.
macro_rules! me {
    () => {
        concat!(
            "me AS MATERIALIZED (SELECT r.head_seq, r.partition, ",
            epoch_of!("$1"),
            " AS epoch, mb.role FROM rooms r \
             LEFT JOIN members mb ON mb.room_id = r.id AND mb.user_id = $2 \
             WHERE r.id = $1 AND (mb.user_id IS NOT NULL OR $3))"
        )
    };
}

/// Whether user `$2` with the role `$role` may see a row. A row without lists of users and roles is visible to
/// everyone, and any other row to the user `$sender` and to the listed users and roles.
macro_rules! visible {
    ($row:literal, $sender:literal, $role:literal) => {
        concat!(
            "((",
            $row,
            ".visible_users IS NULL AND ",
            $row,
            ".visible_roles IS NULL) OR ",
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

/// The columns of [`super::messages::Message`] except the reactions, from a message `m` and its sender `u`. They are
/// read by position, so their order matters. A delete is the last change of its message, so `last_seq` is the seq of
/// the event that names who deleted it. Only deleted messages are looked up.
macro_rules! message_columns {
    () => {
        "m.seq AS m_seq, m.id AS m_id, m.client_id AS m_client_id, m.sender_id AS m_sender_id, \
         u.name AS m_sender_name, u.picture AS m_sender_picture, m.kind AS m_kind, m.content AS m_content, \
         m.reply_to AS m_reply_to, m.attachments::text AS m_attachments, m.metadata::text AS m_metadata, \
         m.visible_users AS m_visible_users, m.visible_roles AS m_visible_roles, m.at AS m_at, \
         m.edited_at AS m_edited_at, m.deleted AS m_deleted, m.last_seq AS m_last_seq, m.mentions AS m_mentions, \
         CASE WHEN m.deleted THEN (SELECT d.actor_id FROM events d WHERE d.room_id = m.room_id AND d.seq = m.last_seq \
           AND d.type = 'message:deleted') END AS m_deleted_by"
    };
}

/// The columns of a row `m` of `messages` that [`message_columns!`] reads, and `room_id`.
macro_rules! message_row {
    () => {
        "m.room_id, m.seq, m.id, m.client_id, m.sender_id, m.kind, m.content, m.reply_to, m.attachments, m.metadata, \
         m.visible_users, m.visible_roles, m.at, m.edited_at, m.deleted, m.last_seq, m.mentions"
    };
}

/// The columns of [`message_row!`] for an event `e` without a message: the columns of the message are NULL. The sender of
/// a `member:added` is the new member, so that the join with `users` finds the name and the picture.
macro_rules! row_without_message {
    () => {
        "e.room_id, e.seq, NULL, NULL, CASE WHEN e.type = 'member:added' THEN e.body->>'user' END, NULL, \
         NULL, NULL, NULL, NULL, NULL, NULL, e.at, NULL, NULL, NULL, NULL"
    };
}

/// The stored bytes of the columns of a message `m` that can be long. PostgreSQL knows the length of a text without
/// reading it, but must read long JSON, which is stored apart, to learn its length.
macro_rules! message_bytes {
    () => {
        "octet_length(m.content) + COALESCE(octet_length(m.attachments::text), 0) \
         + COALESCE(octet_length(m.metadata::text), 0) + COALESCE(octet_length(m.visible_users::text), 0)"
    };
}

/// Begins a SELECT of the rows of a subquery in the order `$order`, up to the row with which their bytes reach the
/// budget `$budget`. The subquery follows in parentheses, has the bytes of each row in the integer column `bytes`, and
/// ends with [`budget_end!`]. `ends_page` is true on the row that reaches the budget: rows after it may be left out. The
/// rows that are left out are read neither by the outer query nor by the client. The subquery has a row limit, so the
/// sum is over at most a few hundred rows.
macro_rules! budget_begin {
    ($budget:literal, $order:literal) => {
        concat!(
            "SELECT p.*, p.total >= ",
            $budget,
            " AS ends_page FROM (SELECT p.*, sum(p.bytes) OVER (ORDER BY ",
            $order,
            " ROWS UNBOUNDED PRECEDING) AS total FROM "
        )
    };
}

/// Ends the SELECT that [`budget_begin!`] begins.
macro_rules! budget_end {
    ($budget:literal) => {
        concat!(" p) p WHERE p.total - p.bytes < ", $budget)
    };
}

/// The reactions to message `m` as user `$2` sees them: JSON text in the order of the first use of each emoji, or NULL.
/// Reads only the reactions that it shows, even if many users gave the same emoji. A scalar subquery checks for the
/// reaction of `$2`, because PostgreSQL may plan an EXISTS as a hash of all reactions that `$2` ever gave.
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

pub(super) use {
    budget_begin, budget_end, epoch_of, me, message_bytes, message_columns, message_row, reactions,
    row_without_message, visible,
};
