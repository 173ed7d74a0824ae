//! Removals by others and the role `guest` outlive a membership, and direct rooms have no owner (docs/PROTOCOL.md,
//! "Members and roles").

use crate::online::Step;

/// `rejoin_roles` has a row for a user who may not join a public room as `member`. `role` is `guest`, or `removed` if
/// the user may not join at all. The row is deleted when the user is a member again. A batch may add and remove a user
/// without a row in `users`, so `user_id` has no foreign key.
///
/// The last step makes the owners of direct rooms members, a thousand owners per transaction. Nodes of the previous
/// version still create direct rooms with an owner. The trigger makes these owners members too. A later migration drops
/// it. The function is created with OR REPLACE, because it may exist: `fresh` drops only tables.
pub const UP: &[Step] = &[
    Step::Sql(
        "CREATE TABLE IF NOT EXISTS rejoin_roles (\
           user_id text COLLATE \"C\" NOT NULL, \
           room_id text COLLATE \"C\" NOT NULL, \
           role    text NOT NULL, \
           PRIMARY KEY (user_id, room_id))",
    ),
    Step::Sql(
        "CREATE OR REPLACE FUNCTION demote_direct_owner() RETURNS trigger LANGUAGE plpgsql AS $$ \
         BEGIN \
           IF EXISTS (SELECT FROM rooms WHERE id = NEW.room_id AND kind = 'direct') THEN \
             NEW.role := 'member'; \
           END IF; \
           RETURN NEW; \
         END $$",
    ),
    Step::Sql(
        "CREATE OR REPLACE TRIGGER direct_owner BEFORE INSERT ON members \
         FOR EACH ROW WHEN (NEW.role = 'owner') EXECUTE FUNCTION demote_direct_owner()",
    ),
    Step::Sql(
        "DO $$ \
         DECLARE \
           last text COLLATE \"C\" := ''; \
           upto text COLLATE \"C\"; \
         BEGIN \
           LOOP \
             SELECT max(o.room_id) INTO upto FROM (SELECT room_id FROM members \
               WHERE role = 'owner' AND room_id > last ORDER BY room_id LIMIT 1000) o; \
             EXIT WHEN upto IS NULL; \
             UPDATE members m SET role = 'member' FROM (SELECT o.room_id, o.user_id \
                 FROM members o JOIN rooms r ON r.id = o.room_id \
                 WHERE o.role = 'owner' AND o.room_id > last AND o.room_id <= upto AND r.kind = 'direct' \
                 ORDER BY o.room_id, o.user_id FOR NO KEY UPDATE OF o) d \
             WHERE m.room_id = d.room_id AND m.user_id = d.user_id; \
             COMMIT; \
             last := upto; \
           END LOOP; \
         END $$",
    ),
];

pub const DOWN: &[Step] = &[
    Step::Sql("DROP TRIGGER IF EXISTS direct_owner ON members"),
    Step::Sql("DROP FUNCTION IF EXISTS demote_direct_owner()"),
    Step::Sql("DROP TABLE IF EXISTS rejoin_roles"),
];
