//! Lists that exist in `shared` and in TypeScript. Each TypeScript list is generated from the Rust list, or compared
//! with it.

use std::fmt::Write;
use std::fs;

use tidings_shared::error::ErrorCode;
use tidings_shared::limits::{MAX_PAGE_ENTRIES, MAX_PRESENCE_USERS, MAX_ROOMS_PER_JOIN};
use tidings_shared::protocol::names::{ANSWERS, LOG_EVENTS, OTHER_FRAMES};
use tidings_shared::role::{Permission, RANKS};

use crate::tree::{read, root};

const ROLES_FILE: &str = "clients/react-ui/src/logic/roles.ts";

/// The text of a file between two marks.
fn between(path: &str, from: &str, to: &str) -> String {
    let text = read(path);
    let (_, rest) = text.split_once(from).unwrap_or_else(|| panic!("{path} has no {from:?}"));
    rest.split_once(to).unwrap_or_else(|| panic!("{path} has no {to:?}")).0.to_owned()
}

#[test]
fn roles_of_the_demo_are_those_of_shared() {
    let names: Vec<String> = RANKS.iter().map(|(name, _)| format!("{name:?}")).collect();
    let mut text = format!(
        "// Written from shared/src/role.rs by `TIDINGS_WRITE_ROLES=1 cargo test -p tidings-harness --test house roles`.\n\n\
         /** The named roles, the highest first. Any other role ranks as `member`. */\n\
         export const ROLES = [{}];\n\n\
         /** The lowest role that has a permission. */\nexport const MIN_ROLES = {{\n",
        names.join(", ")
    );
    for permission in Permission::ALL {
        let (role, _) = RANKS.iter().find(|(_, rank)| *rank == permission.min_role()).unwrap();
        writeln!(text, "  {}: {role:?},", permission.as_str()).unwrap();
    }
    text.push_str("};\n");
    if std::env::var_os("TIDINGS_WRITE_ROLES").is_some() {
        fs::write(root().join(ROLES_FILE), &text).unwrap();
    }
    assert_eq!(read(ROLES_FILE), text, "write it again as its first line says");
}

#[test]
fn error_codes_of_the_kit_are_those_of_shared() {
    let codes = between("clients/ts/src/protocol/objects.ts", "export type WireCode =", ";");
    let codes: Vec<&str> = codes.split('"').skip(1).step_by(2).collect();
    assert_eq!(codes, ErrorCode::ALL.map(ErrorCode::as_str));
    let statuses = between("clients/ts/src/net/http.ts", "const CODE_BY_STATUS", "};");
    let mut found = 0;
    for line in statuses.lines() {
        let Some((status, code)) = line.trim().trim_end_matches(',').split_once(": ") else { continue };
        let Ok(status) = status.parse::<u16>() else { continue };
        let known = ErrorCode::ALL.iter().find(|known| format!("{:?}", known.as_str()) == code);
        assert_eq!(known.map(|code| code.status()), Some(status), "{line}");
        found += 1;
    }
    assert!(found > 4, "the statuses were not found");
}

/// The frames that the main entry of the kit does not check, because it relies on none of their fields. The entry
/// `live` checks those that it uses.
const UNCHECKED_FRAMES: [&str; 10] = [
    "ok",
    "pong",
    "presence",
    "presence:list",
    "receipt:delivered",
    "receipt:read",
    "room:left",
    "signal",
    "typing:start",
    "typing:stop",
];

#[test]
fn frames_of_the_kit_are_those_of_shared() {
    let shapes = between("clients/ts/src/protocol/check.ts", "__proto__: null as never,", "\n};");
    let named = shapes.lines().filter_map(|line| line.trim().split_once(": "));
    let mut frames: Vec<&str> = named.map(|(name, _)| name.trim_matches('"')).collect();
    frames.extend(UNCHECKED_FRAMES);
    frames.sort_unstable();
    // Typing and signals have the same names as the frames of clients.
    let other = ["typing:start", "typing:stop", "signal"];
    let mut known: Vec<&str> =
        ANSWERS.into_iter().chain(LOG_EVENTS).chain(OTHER_FRAMES).chain(other).collect();
    known.sort_unstable();
    assert_eq!(frames, known);
}

#[test]
fn limits_of_the_clients_are_those_of_shared() {
    let limits = [
        ("clients/ts/src/room-list.ts", "PAGE_SIZE", MAX_PAGE_ENTRIES),
        ("clients/ts/src/joins.ts", "MAX_ROOMS_PER_JOIN", MAX_ROOMS_PER_JOIN as i64),
        ("clients/ts/src/live/members.ts", "PAGE_SIZE", MAX_PAGE_ENTRIES),
        ("clients/ts/src/room/log.ts", "MAX_FILL_EVENTS", MAX_PAGE_ENTRIES),
        ("clients/ts/src/live/presence.ts", "MAX_USERS_PER_REQUEST", MAX_PRESENCE_USERS as i64),
    ];
    for (path, name, limit) in limits {
        assert_eq!(between(path, &format!("const {name} = "), ";"), limit.to_string(), "{path}: {name}");
    }
}
