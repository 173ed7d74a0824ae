//! Tables for the logs of the rooms: messages in their present state, and all other events. Also tables for versions
//! and reactions of messages, for the last known presence of users, and for dead letters. Each seq of a room is in
//! exactly one of `messages` and `events`, so both together are the whole log. There is no foreign key to `rooms`,
//! because the writer inserts many rows at a time and rooms are never deleted.

/// When `visible_users` and `visible_roles` are both NULL, everyone in the room may see the row. `last_seq` is the seq
/// of the event that last changed the message; at first it is the seq of the message. `events.body` is the JSON of the
/// event as clients get it. `void_told` is false on the row of a void until the `message:void` event for it is stored;
/// a partial index finds these few rows. Another index finds the client ids of rejected records. JSON columns have the
/// type `json`, not `jsonb`, because clients get the JSON back byte for byte.
pub const UP: &str = r#"
CREATE TABLE messages (
    room_id       text COLLATE "C" NOT NULL,
    seq           bigint NOT NULL,
    id            uuid NOT NULL UNIQUE,
    sender_id     text COLLATE "C" NOT NULL,
    client_id     text COLLATE "C" NOT NULL,
    kind          text NOT NULL,
    content       text NOT NULL,
    reply_to      bigint,
    attachments   json,
    metadata      json,
    visible_users text[] COLLATE "C",
    visible_roles text[] COLLATE "C",
    at            timestamptz NOT NULL,
    edited_at     timestamptz,
    deleted       boolean NOT NULL DEFAULT false,
    last_seq      bigint NOT NULL,
    PRIMARY KEY (room_id, seq),
    UNIQUE (room_id, sender_id, client_id)
);

CREATE TABLE events (
    room_id       text COLLATE "C" NOT NULL,
    seq           bigint NOT NULL,
    type          text NOT NULL,
    actor_id      text COLLATE "C",
    client_id     text COLLATE "C",
    target        bigint,
    target_id     uuid,
    at            timestamptz NOT NULL,
    body          json NOT NULL,
    visible_users text[] COLLATE "C",
    visible_roles text[] COLLATE "C",
    void_reason   text CHECK (void_reason IN ('duplicate', 'rejected')),
    void_of       bigint,
    void_told     boolean,
    PRIMARY KEY (room_id, seq)
);
CREATE INDEX events_void_untold ON events (room_id, seq) WHERE void_told = false;
CREATE INDEX events_rejected ON events (room_id, actor_id, client_id) WHERE void_reason = 'rejected';

CREATE TABLE message_versions (
    room_id  text COLLATE "C" NOT NULL,
    seq      bigint NOT NULL,
    version  integer NOT NULL,
    content  text NOT NULL,
    metadata json,
    at       timestamptz NOT NULL,
    by       text COLLATE "C" NOT NULL,
    PRIMARY KEY (room_id, seq, version)
);

CREATE TABLE reactions (
    room_id   text COLLATE "C" NOT NULL,
    seq       bigint NOT NULL,
    emoji     text COLLATE "C" NOT NULL,
    user_id   text COLLATE "C" NOT NULL,
    at        timestamptz NOT NULL,
    event_seq bigint NOT NULL,
    PRIMARY KEY (room_id, seq, emoji, user_id)
);

CREATE TABLE presence (
    user_id   text COLLATE "C" PRIMARY KEY,
    status    text NOT NULL,
    last_seen timestamptz
);

CREATE TABLE dead_letters (
    id        bigserial PRIMARY KEY,
    room_id   text COLLATE "C",
    seq       bigint,
    partition smallint NOT NULL,
    epoch     bigint NOT NULL,
    ingest_id text COLLATE "C" NOT NULL,
    record    bytea NOT NULL,
    reason    text NOT NULL,
    at        timestamptz NOT NULL DEFAULT now(),
    UNIQUE (partition, epoch, ingest_id)
);
"#;

pub const DOWN: &str = "
DROP TABLE dead_letters;
DROP TABLE presence;
DROP TABLE reactions;
DROP TABLE message_versions;
DROP TABLE events;
DROP TABLE messages;
";
