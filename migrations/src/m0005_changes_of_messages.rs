//! Stores more about changes of messages: the event that made each version, the number of reactions with each emoji,
//! and the event type of each record that became a void.

/// `message_versions.version` is the seq of the event that made the version, or the seq of the message for the original
/// text. `metadata` is NULL if an edit did not change the metadata.
///
/// Triggers update `reaction_counts`, so that every statement that writes `reactions` keeps the counts right. Without
/// the counts, a page of messages with ten thousand reactions would read ten thousand rows. The index
/// `reactions_in_order` finds the first reactions of each emoji.
/// The functions are created with OR REPLACE, because they may exist: `fresh` drops only tables.
///
/// `events.void_type` is the event type of the record that a void replaces. On rows older than this column it is NULL,
/// which stands for `message:new`. The client ids of messages and of other events are looked up separately.
pub const UP: &str = r#"
ALTER TABLE message_versions ALTER COLUMN version TYPE bigint;

ALTER TABLE events ADD COLUMN void_type text;

CREATE INDEX reactions_in_order ON reactions (room_id, seq, emoji, event_seq) INCLUDE (user_id);

CREATE TABLE reaction_counts (
    room_id text COLLATE "C" NOT NULL,
    seq     bigint NOT NULL,
    emoji   text COLLATE "C" NOT NULL,
    count   bigint NOT NULL,
    PRIMARY KEY (room_id, seq, emoji)
);
INSERT INTO reaction_counts (room_id, seq, emoji, count)
    SELECT room_id, seq, emoji, count(*) FROM reactions GROUP BY room_id, seq, emoji;

CREATE OR REPLACE FUNCTION count_given_reactions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO reaction_counts AS c (room_id, seq, emoji, count)
        SELECT room_id, seq, emoji, count(*) FROM changed GROUP BY room_id, seq, emoji ORDER BY room_id, seq, emoji
        ON CONFLICT (room_id, seq, emoji) DO UPDATE SET count = c.count + excluded.count;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION count_taken_reactions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE reaction_counts c SET count = c.count - t.taken
        FROM (SELECT room_id, seq, emoji, count(*) AS taken FROM changed GROUP BY room_id, seq, emoji) t
        WHERE c.room_id = t.room_id AND c.seq = t.seq AND c.emoji = t.emoji;
    DELETE FROM reaction_counts c USING (SELECT DISTINCT room_id, seq, emoji FROM changed) t
        WHERE c.room_id = t.room_id AND c.seq = t.seq AND c.emoji = t.emoji AND c.count <= 0;
    RETURN NULL;
END
$$;

CREATE TRIGGER reactions_given AFTER INSERT ON reactions
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_given_reactions();
CREATE TRIGGER reactions_taken AFTER DELETE ON reactions
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_taken_reactions();
"#;

pub const DOWN: &str = "
DROP TRIGGER reactions_taken ON reactions;
DROP TRIGGER reactions_given ON reactions;
DROP FUNCTION count_taken_reactions();
DROP FUNCTION count_given_reactions();
DROP TABLE reaction_counts;
DROP INDEX reactions_in_order;
ALTER TABLE events DROP COLUMN void_type;
ALTER TABLE message_versions ALTER COLUMN version TYPE integer;
";
