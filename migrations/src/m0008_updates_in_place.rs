//! Makes storing a message cheaper: updates of `rooms.head_seq` become HOT updates, and the unused unique constraint
//! `messages_id_key` is dropped.

/// PostgreSQL updates a row in place (HOT) only if no index contains a changed column. Each message changes
/// `rooms.updated_at`, so the index `rooms_public` on this column would make each message add an entry to all three
/// indexes of `rooms`. The table `public_rooms` replaces that index: it lists the public rooms by activity. A trigger
/// fills the table, so the table is also correct when the previous version of the service writes `rooms`. The fill
/// factors keep space in the pages of tables that are updated often.
///
/// DROP INDEX comes first, because it locks `rooms`; a stronger lock taken later could deadlock with a batch. The
/// function is created with OR REPLACE, because it may exist: `fresh` drops only tables.
///
/// `messages_id_key` is dropped, because no statement looks up messages by id.
pub const UP: &str = r#"
DROP INDEX rooms_public;
ALTER TABLE rooms SET (fillfactor = 70);
ALTER TABLE search_progress SET (fillfactor = 70);
ALTER TABLE search_slices SET (fillfactor = 70);

CREATE TABLE public_rooms (
    room_id    text COLLATE "C" PRIMARY KEY,
    updated_at timestamptz NOT NULL
);
CREATE INDEX public_rooms_by_activity ON public_rooms (updated_at DESC, room_id);

CREATE OR REPLACE FUNCTION list_public_room() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public_rooms (room_id, updated_at) VALUES (NEW.id, NEW.updated_at)
        ON CONFLICT (room_id) DO UPDATE SET updated_at = excluded.updated_at;
    RETURN NULL;
END
$$;
CREATE TRIGGER public_room_active AFTER INSERT OR UPDATE OF updated_at ON rooms
    FOR EACH ROW WHEN (NEW.kind = 'public') EXECUTE FUNCTION list_public_room();
INSERT INTO public_rooms (room_id, updated_at) SELECT id, updated_at FROM rooms WHERE kind = 'public';

ALTER TABLE messages DROP CONSTRAINT messages_id_key;
"#;

pub const DOWN: &str = "
ALTER TABLE messages ADD CONSTRAINT messages_id_key UNIQUE (id);
DROP TRIGGER public_room_active ON rooms;
DROP FUNCTION list_public_room();
DROP TABLE public_rooms;
ALTER TABLE search_slices RESET (fillfactor);
ALTER TABLE search_progress RESET (fillfactor);
ALTER TABLE rooms RESET (fillfactor);
CREATE INDEX rooms_public ON rooms (kind, updated_at DESC, id) WHERE kind = 'public';
";
