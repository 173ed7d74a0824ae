//! The SQL of a search.

use crate::query::sql::{budget_begin, budget_end, message_bytes, message_columns, reactions, visible};
use crate::search::signature::IS_OUTDATED_SQL;

macro_rules! rooms_with_progress {
    ($rooms:literal) => {
        concat!(
            "SELECT v.room_id, r.head_seq, r.updated_at, COALESCE(p.indexed_seq, 0) AS indexed_seq, b.block, b.last_at FROM ",
            $rooms,
            " CROSS JOIN LATERAL (SELECT head_seq, updated_at FROM rooms w WHERE w.id = v.room_id LIMIT 1) r \
             LEFT JOIN LATERAL (SELECT indexed_seq FROM search_progress w WHERE w.room_id = v.room_id LIMIT 1) p ON true \
             LEFT JOIN LATERAL (SELECT * FROM ( \
               (SELECT w.block, w.last_at FROM search_blocks w WHERE w.room_id = v.room_id AND w.last_at <= $2 \
                 ORDER BY w.last_at DESC, w.block DESC LIMIT 1) \
               UNION ALL SELECT w.block, w.last_at FROM (SELECT w.block, w.last_at, w.first_at FROM search_blocks w \
                 WHERE w.room_id = v.room_id AND w.last_at > $2 ORDER BY w.last_at, w.block LIMIT 64) w \
                 WHERE w.first_at <= $2 \
             ) w ORDER BY w.last_at DESC, w.block DESC LIMIT 1) b ON true"
        )
    };
}

/// The room `$1`, or the rooms of the user `$1`: the progress of their index, and the newest block that may have
/// messages up to the time `$2`. Usually one block has messages on both sides of this time, because messages of a room
/// are stored in the order of their times, except for differences between clocks. So the statement looks for such
/// blocks only among the next 64, not among all newer blocks.
pub const ROOM_SQL: &str = rooms_with_progress!("(SELECT $1::text AS room_id) v");
pub const MY_ROOMS_SQL: &str = rooms_with_progress!("(SELECT room_id FROM members WHERE user_id = $1) v");

/// The columns that the statements below need of a message.
macro_rules! text_columns {
    () => {
        "n.room_id, n.seq, n.at, n.content, n.deleted, n.sender_id, n.visible_users, n.visible_roles"
    };
}

/// Joins the role `mb.role` of the user `$2` in the room `v.room`.
macro_rules! join_role {
    () => {
        "LEFT JOIN LATERAL (SELECT w.role FROM members w WHERE w.room_id = v.room AND w.user_id = $2 LIMIT 1) mb \
         ON true "
    };
}

/// The messages of the rooms `$1` after the seqs `$3`, and the messages that were edited after these seqs, both only up
/// to the time `$4` and only those that the user `$2` may see. Reads at most `$5` messages and `$5` events of each
/// room, the newest ones. The limits apply before all other conditions, so they also limit the rows that are read and
/// then rejected. They count rows, whatever the messages contain.
pub const UNINDEXED_SQL: &str = concat!(
    "SELECT m.room_id, m.seq, m.at, m.content FROM unnest($1::text[], $3::bigint[]) AS v (room, since) ",
    join_role!(),
    "CROSS JOIN LATERAL (SELECT * FROM (SELECT ",
    text_columns!(),
    " FROM messages n WHERE n.room_id = v.room AND n.seq > v.since ORDER BY n.seq DESC LIMIT $5) n \
      UNION ALL \
      SELECT n.* FROM (SELECT e.type, e.target FROM events e \
          WHERE e.room_id = v.room AND e.seq > v.since ORDER BY e.seq DESC LIMIT $5) e \
        CROSS JOIN LATERAL (SELECT ",
    text_columns!(),
    " FROM messages n WHERE n.room_id = v.room AND n.seq = e.target AND n.seq <= v.since LIMIT 1) n \
        WHERE e.type = 'message:edited' \
    ) m WHERE m.at <= $4 AND NOT m.deleted AND ",
    visible!("m", "m.sender_id", "mb.role")
);

/// The messages in the blocks `$3` of the rooms `$1` that the user `$2` may see, up to the time `$5`. `$4` is the
/// number of seqs in a block. The LIMIT removes no rows, but keeps the planner from a scan of the whole table.
pub const VISIBLE_TEXTS_SQL: &str = concat!(
    "SELECT m.room_id, m.seq, m.at, m.content FROM unnest($1::text[], $3::bigint[]) AS v (room, block) ",
    join_role!(),
    "CROSS JOIN LATERAL (SELECT ",
    text_columns!(),
    " FROM messages n WHERE n.room_id = v.room AND n.seq >= v.block * $4 AND n.seq < (v.block + 1) * $4 \
       ORDER BY n.seq LIMIT $4) m \
     WHERE m.at <= $5 AND NOT m.deleted AND ",
    visible!("m", "m.sender_id", "mb.role")
);

/// Joins a row `s` if the block `t` of the room `v.room` may contain the words and has a message that the user `$2` may
/// see.
const JOIN_VISIBLE_MESSAGE: &str = concat!(
    "LEFT JOIN LATERAL (SELECT n.seq FROM messages n \
       WHERE t.bits_are_set AND n.room_id = v.room AND n.seq >= t.block * $8 AND n.seq < (t.block + 1) * $8 \
         AND NOT n.deleted AND ",
    visible!("n", "n.sender_id", "mb.role"),
    " ORDER BY n.seq LIMIT 1) s ON true"
);

/// The statement that tests the signatures of the next `$5` blocks of each room in `$1`, newest first. `$3` and `$4`
/// are the cursor of each room: time and number of the last tested block. `$6` holds the bit numbers of the query, and
/// `numbers` is their count. `$8` is the number of seqs in a block. A block is a candidate if all these bits are set,
/// its first message is not newer than `$7`, and the user `$2` may see one of its messages. Returns the candidates, and
/// the last tested block of each room that may have more blocks. The test of a block ends at the first unset bit.
pub fn test_blocks_sql(numbers: usize) -> String {
    let bits = (1..=numbers)
        .map(|n| format!(" AND get_bit(w.signature, $6[{n}] % (octet_length(w.signature) * 8)) = 1"))
        .collect::<String>();
    let join_role = join_role!();
    format!(
        "SELECT v.room, t.block, t.last_at, s.seq IS NOT NULL AS is_candidate, t.place = $5 AS is_last \
         FROM unnest($1::text[], $3::timestamptz[], $4::bigint[]) AS v (room, at, block) \
         {join_role}CROSS JOIN LATERAL (SELECT * FROM (SELECT w.block, w.last_at, \
             w.first_at <= $7 AND ({IS_OUTDATED_SQL} OR (true{bits})) AS bits_are_set, \
             row_number() OVER (ORDER BY w.last_at DESC, w.block DESC) AS place \
           FROM search_blocks w WHERE w.room_id = v.room AND (w.last_at, w.block) < (v.at, v.block) \
           ORDER BY w.last_at DESC, w.block DESC LIMIT $5) t WHERE t.bits_are_set OR t.place = $5) t \
         {JOIN_VISIBLE_MESSAGE} WHERE s.seq IS NOT NULL OR t.place = $5"
    )
}

/// The messages with the given rooms and seqs that the user `$2` may see, up to about `$5` bytes.
pub const READ_HITS_SQL: &str = concat!(
    "SELECT m.place, m.ends_page, m.room_id AS m_room, ",
    message_columns!(),
    ", ",
    reactions!(),
    " FROM (",
    budget_begin!("$5", "p.place"),
    "(SELECT v.place, m.*, ",
    message_bytes!(),
    " AS bytes FROM unnest($1::text[], $3::bigint[]) WITH ORDINALITY AS v (room, seq, place) \
     CROSS JOIN LATERAL (SELECT * FROM messages w WHERE w.room_id = v.room AND w.seq = v.seq LIMIT 1) m \
     LEFT JOIN LATERAL (SELECT * FROM members w WHERE w.room_id = v.room AND w.user_id = $2 LIMIT 1) mb ON true \
     WHERE NOT m.deleted AND (mb.user_id IS NOT NULL OR $4) AND ",
    visible!("m", "m.sender_id", "mb.role"),
    ")",
    budget_end!("$5"),
    ") m LEFT JOIN LATERAL (SELECT * FROM users w WHERE w.id = m.sender_id LIMIT 1) u ON true ORDER BY m.place"
);
