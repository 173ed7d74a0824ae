// Written from shared/src/role.rs by `TIDINGS_WRITE_ROLES=1 cargo test -p tidings-harness --test house roles`.

/** The named roles, the highest first. Any other role ranks as `member`. */
export const ROLES = ["owner", "admin", "member", "guest"];

/** The lowest role that has a permission. */
export const MIN_ROLES = {
  Read: "guest",
  Send: "member",
  ChangeOwn: "member",
  ChangeAny: "admin",
  ChangeRoom: "admin",
  ManageMembers: "admin",
  ManageOwners: "owner",
};
