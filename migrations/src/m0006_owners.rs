//! An index that finds the owners of a room without reading all of its members, because each change of an owner checks
//! that the room keeps one.

pub const UP: &str = "CREATE INDEX members_owners ON members (room_id) WHERE role = 'owner'";

pub const DOWN: &str = "DROP INDEX members_owners";
