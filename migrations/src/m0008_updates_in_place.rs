//! Makes a stored message cheaper: heads of rooms move in place, and no index is kept that nobody reads.

/// PostgreSQL updates a row in place (HOT) only when no index holds a changed column. Each message changes
/// `rooms.updated_at`, which `rooms_public` held, so each message added an entry to all three indexes of `rooms`. Now
/// `public_rooms` lists the public rooms by activity. A trigger keeps it, so it is right however `rooms` is written,
/// also by the previous version. The pages of tables that are updated often keep space for further versions of their
/// rows.
///
/// `rooms` is locked first, by DROP INDEX, because taking a stronger lock later could deadlock with a batch. The
/// function may exist already, because `fresh` drops only tables.
///
/// Nothing looks up messages by id.
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
