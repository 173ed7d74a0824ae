//! Fills a database by SQL with any number of messages. The rows are those that persistence would have written.

use anyhow::Result;
use tidings_harness::postgres::Database;

/// The reader, who is a member of every room.
pub const READER: &str = "reader";
/// The room that holds half of all messages.
pub const LARGE_ROOM: &str = "large";
/// Number of messages of a page.
pub const PAGE_SIZE: u64 = 50;

/// The distribution of the messages over the rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageDistribution {
    /// Number of messages in [`LARGE_ROOM`]. The small rooms together have about as many.
    pub in_large: u64,
    /// Number of small rooms, which have the ids `small0`, `small1` and so on.
    pub small_rooms: u64,
}

/// The recorded state of the search index in a filled database. The index itself is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SearchIndex {
    /// All messages are marked as indexed, so persistence does not index them.
    MarkedComplete,
    /// No message is marked as indexed, so persistence indexes them when it starts.
    Empty,
}

impl MessageDistribution {
    /// Distributes this many messages: half to the large room, half to small rooms. There are at most a thousand small
    /// rooms, and each has enough messages for one page.
    #[must_use]
    pub fn for_messages(messages: u64) -> MessageDistribution {
        let in_large = messages / 2;
        MessageDistribution { in_large, small_rooms: (in_large / PAGE_SIZE).clamp(1, 1000) }
    }

    /// Number of messages in each small room.
    #[must_use]
    pub fn in_each_small(self) -> u64 {
        self.in_large / self.small_rooms
    }
}

/// Halves of messages. Two halves together, and a number of up to five digits, have 60 to 126 characters.
const MESSAGE_HALVES: [&str; 8] = [
    "Did you see that the train to the coast is late again?",
    "I will bring the drawings tomorrow, if nobody minds.",
    "The second build went through, so we can go on now.",
    "Could somebody look at the numbers of last week, please?",
    "That is fine with me, as long as it is done by Friday.",
    "Nothing new here; the supplier has not called back yet.",
    "Meet at ten in front of the library?",
    "Thanks, that was all I had to know.",
];

/// Fills a migrated database with about this many messages, and returns their distribution.
pub async fn fill_database(
    database: &Database,
    messages: u64,
    index: SearchIndex,
) -> Result<MessageDistribution> {
    let filled = MessageDistribution::for_messages(messages);
    // With `wal_level = minimal`, PostgreSQL writes no WAL for a table that is truncated and filled in one transaction.
    // The indexes are created after the messages are inserted, because this is faster.
    database.query(&fill_statements(filled, index)).await?;
    database.query("VACUUM (ANALYZE)").await?;
    database.query("CHECKPOINT").await?;
    Ok(filled)
}

fn fill_statements(filled: MessageDistribution, index: SearchIndex) -> String {
    let MessageDistribution { in_large, small_rooms } = filled;
    let in_small = filled.in_each_small();
    let indexed_seq = if index == SearchIndex::MarkedComplete { "head_seq" } else { "0" };
    let halves = MESSAGE_HALVES.map(|half| format!("'{half}'")).join(",");
    // Ids are UUIDv7, like those of persistence and of clients: first a time, then random bits.
    let uuid = |salt: &str| {
        format!(
            "(lpad(to_hex(1735689600000 + n * 1000), 12, '0') || '7' || substr(md5('{salt}' || n), 1, 3) || '8' || \
             substr(md5('{salt}' || n), 4, 15))::uuid"
        )
    };
    let (id, client_id) = (uuid("m"), uuid("c"));
    // Every second message goes to the large room. The others go to the small rooms in turn.
    format!(
        "BEGIN;
SET LOCAL maintenance_work_mem = '1GB';
INSERT INTO users (id, name) SELECT 'user' || n, 'User ' || n FROM generate_series(0, 999) n
  UNION ALL SELECT '{READER}', 'Reader';
INSERT INTO epochs_opened (run_id) VALUES ('filled');
INSERT INTO rooms (id, partition, kind, name, created_by, member_count, head_seq)
  SELECT '{LARGE_ROOM}', 0, 'private', 'Large', '{READER}', 1001, {in_large}
  UNION ALL SELECT 'small' || n, n % 64, 'private', 'Small ' || n, '{READER}', 11, {in_small}
    FROM generate_series(0, {small_rooms} - 1) n;
INSERT INTO members (room_id, user_id, role, read_seq)
  SELECT id, '{READER}', 'owner', head_seq FROM rooms
  UNION ALL SELECT '{LARGE_ROOM}', 'user' || n, 'member', 0 FROM generate_series(0, 999) n
  UNION ALL SELECT 'small' || r, 'user' || (r * 7 + n) % 1000, 'member', 0
    FROM generate_series(0, {small_rooms} - 1) r, generate_series(0, 9) n;
INSERT INTO room_epochs SELECT id, 1, 0 FROM rooms;
INSERT INTO search_progress SELECT id, {indexed_seq} FROM rooms;
TRUNCATE messages;
ALTER TABLE messages DROP CONSTRAINT messages_pkey;
DROP INDEX messages_by_sender;
INSERT INTO messages (room_id, seq, id, sender_id, client_id, kind, content, at, last_seq)
  SELECT room, seq, {id},
 'user' || (CASE WHEN room = '{LARGE_ROOM}' THEN n * 31 % 1000 ELSE (r * 7 + n * 31 % 10) % 1000 END),
    {client_id}::text, 'text',
    (ARRAY[{halves}])[(1 + n % 8)::int] || ' ' || (ARRAY[{halves}])[(1 + n * 13 / 8 % 8)::int]
      || ' ' || n * 7919 % 100000,
    timestamptz '2025-01-01 00:00:00Z' + n * interval '1 second', seq
  FROM generate_series(0::bigint, {in_large} * 2 - 1) n
  CROSS JOIN LATERAL (SELECT n / 2 % {small_rooms} AS r) small
  CROSS JOIN LATERAL (SELECT CASE WHEN n % 2 = 0 THEN '{LARGE_ROOM}' ELSE 'small' || r END AS room,
    CASE WHEN n % 2 = 0 THEN n / 2 + 1 ELSE n / 2 / {small_rooms} + 1 END AS seq) place
  WHERE n % 2 = 0 OR n / 2 < {in_small} * {small_rooms};
ALTER TABLE messages ADD PRIMARY KEY (room_id, seq);
CREATE UNIQUE INDEX messages_by_sender ON messages (sender_id, room_id, client_id);
COMMIT"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_rooms_have_at_least_one_page_each() {
        assert_eq!(
            MessageDistribution::for_messages(10_000),
            MessageDistribution { in_large: 5_000, small_rooms: 100 }
        );
        assert_eq!(
            MessageDistribution::for_messages(10_000_000),
            MessageDistribution { in_large: 5_000_000, small_rooms: 1_000 }
        );
        assert_eq!(MessageDistribution::for_messages(10_000_000).in_each_small(), 5_000);
        assert_eq!(MessageDistribution::for_messages(10_000).in_each_small(), PAGE_SIZE);
    }
}
