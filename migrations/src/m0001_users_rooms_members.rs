//! Tables for users, rooms and members. `COLLATE "C"` compares ids byte by byte, because the database and the services
//! must sort ids in the same order in every locale.

/// `direct_key` holds the two user ids of a direct room, sorted and joined with U+001F. Its UNIQUE constraint allows
/// one direct room per pair of users. `head_seq` only moves to the next seq.
pub const UP: &str = r#"
CREATE TABLE users (
    id          text COLLATE "C" PRIMARY KEY,
    name        text,
    picture     text,
    blocked     boolean NOT NULL DEFAULT false,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE rooms (
    id           text COLLATE "C" PRIMARY KEY,
    partition    smallint NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('direct', 'private', 'public')),
    name         text,
    created_by   text COLLATE "C" NOT NULL REFERENCES users (id),
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    archived     boolean NOT NULL DEFAULT false,
    metadata     json NOT NULL DEFAULT '{}',
    direct_key   text COLLATE "C" UNIQUE,
    member_count integer NOT NULL DEFAULT 0,
    head_seq     bigint NOT NULL DEFAULT 0
);
CREATE INDEX rooms_public ON rooms (kind, updated_at DESC, id) WHERE kind = 'public';

CREATE TABLE members (
    room_id       text COLLATE "C" NOT NULL REFERENCES rooms (id),
    user_id       text COLLATE "C" NOT NULL REFERENCES users (id),
    role          text NOT NULL,
    joined_at     timestamptz NOT NULL DEFAULT now(),
    read_seq      bigint NOT NULL DEFAULT 0,
    read_at       timestamptz,
    delivered_seq bigint NOT NULL DEFAULT 0,
    delivered_at  timestamptz,
    PRIMARY KEY (room_id, user_id)
);
CREATE INDEX members_user ON members (user_id);
"#;

pub const DOWN: &str = "
DROP TABLE members;
DROP TABLE rooms;
DROP TABLE users;
";
