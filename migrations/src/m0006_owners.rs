//! An index that finds the owners of a room without reading all of its members, because a room must keep an owner.

pub const UP: &str = "CREATE INDEX members_owners ON members (room_id) WHERE role = 'owner'";

pub const DOWN: &str = "DROP INDEX members_owners";
