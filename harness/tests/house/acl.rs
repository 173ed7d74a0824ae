//! The users that Redis is shipped with may what the sources of their service do, no more and no less.

use std::collections::BTreeSet;

use crate::tree::{File, read, tree};

const USERS: &str = "deploy/redis/users.acl";
/// The client library has functions for these.
const OF_THE_LIBRARY: [(&[&str], &str); 3] = [
    (&["gateway", "persistence"], "subscribe"),
    (&["gateway"], "unsubscribe"),
    (&["persistence"], "multi exec"),
];
/// What of `shared/` only one service does, by script or by function, and the calls that tell so: they stand in its
/// sources, and neither in those of the other nor in `shared/` itself. Everything else is counted as done by both.
const ONLY: [(&str, &str, &[&str]); 33] = [
    ("gateway", "log/live.lua", &[".publish_live("]),
    ("gateway", "log/live.rs command", &[".publish_live("]),
    ("gateway", "membership.rs versions", &["membership::versions("]),
    ("gateway", "membership.rs all", &["membership::all("]),
    ("gateway", "membership.rs of", &["membership::of("]),
    ("gateway", "membership.rs account", &["membership::account("]),
    ("gateway", "presence/claim.lua", &["presence::claim("]),
    ("gateway", "presence/lease.lua", &["presence::begin(", "presence::renew(", "presence::end("]),
    ("gateway", "presence/lives.rs dues", &["presence::dues("]),
    ("gateway", "presence/lives.rs lapsed", &["presence::lapsed("]),
    ("gateway", "presence/lives.rs put_off", &["presence::put_off("]),
    ("gateway", "presence/members.rs cached", &["members::cached("]),
    ("gateway", "presence/members.rs keep", &["members::keep("]),
    ("gateway", "presence/put.lua", &["presence::put(", "presence::reap("]),
    ("gateway", "presence/rooms.lua", &["presence::cached_rooms("]),
    ("gateway", "presence/told.rs missed", &["presence::missed("]),
    ("persistence", "log/blank.lua", &[".append_blank("]),
    ("persistence", "log/forgetting.rs append_blank", &[".append_blank("]),
    ("persistence", "log/forgetting.rs drop_tails", &[".drop_tails("]),
    ("persistence", "log/forgetting.rs forbid", &[".forbid("]),
    ("persistence", "log/forgetting.rs last_record", &[".last_record("]),
    ("persistence", "log/forgetting.rs tail_begins", &[".tail_begins("]),
    ("persistence", "log/owner.rs tell_stored", &[".tell_stored("]),
    ("persistence", "log/owner.rs write_seed", &[".write_seed("]),
    ("persistence", "log/seed.lua", &[".write_seed("]),
    ("persistence", "log/stored.lua", &[".tell_stored("]),
    ("persistence", "membership.rs stamp", &["membership::stamp("]),
    ("persistence", "membership/changed.lua", &["membership::changed(", "membership::account_changed("]),
    ("persistence", "membership/fill.lua", &["membership::fill("]),
    ("persistence", "membership/remember.lua", &["membership::remember_account("]),
    ("persistence", "people.rs tell", &["people::tell("]),
    ("persistence", "presence/drained.lua", &["presence::drained("]),
    ("persistence", "presence/lives.rs gone", &["presence::gone("]),
];

/// The commands that are named right behind one of these words, each with where: the file, and of Rust the function.
fn named(file: &File) -> BTreeSet<(String, String)> {
    let path = file.path.trim_start_matches("shared/src/");
    let mut commands = BTreeSet::new();
    for opening in ["cmd(", ".call(", ".pcall("] {
        for (at, _) in file.text.match_indices(opening) {
            let rest = &file.text[at + opening.len()..];
            let Some(rest) = rest.strip_prefix(['"', '\'']) else { continue };
            let command: String = rest.chars().take_while(char::is_ascii_uppercase).collect();
            if command.is_empty() {
                continue;
            }
            let below = rest.get(command.len() + 1..).and_then(|rest| rest.strip_prefix(").arg(\"LOAD\")"));
            let command = format!("{}{}", command.to_lowercase(), below.map_or("", |_| "|load"));
            let function = file.text[..at].rsplit_once("fn ").map(|(_, rest)| {
                rest.chars()
                    .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
                    .collect::<String>()
            });
            let place = function.map_or_else(|| path.to_owned(), |function| format!("{path} {function}"));
            commands.insert((place, command));
        }
    }
    commands
}

/// The sources of a crate, without tests.
fn sources(folder: &str) -> Vec<File> {
    let of_crate = |file: &File| file.path.starts_with(folder) && !file.path.ends_with("tests.rs");
    tree().into_iter().filter(of_crate).collect()
}

#[test]
fn the_users_of_redis_may_what_their_service_does_no_more_and_no_less() {
    let shared: BTreeSet<(String, String)> = sources("shared/src/").iter().flat_map(named).collect();
    let users = read(USERS);
    for (service, other) in [("gateway", "persistence"), ("persistence", "gateway")] {
        let of_other = |place: &str| ONLY.iter().any(|(whose, only, _)| *whose == other && *only == place);
        let mut used: BTreeSet<String> = shared
            .iter()
            .filter(|(place, _)| !of_other(place))
            .cloned()
            .chain(sources(&format!("{service}/src/")).iter().flat_map(named))
            .map(|(_, command)| command)
            .collect();
        assert!(used.len() > 20, "the commands were not found: {used:?}");
        let of_library = OF_THE_LIBRARY.iter().filter(|(services, _)| services.contains(&service));
        used.extend(of_library.flat_map(|(_, commands)| commands.split(' ').map(str::to_owned)));
        let user = users.lines().find(|line| line.starts_with(&format!("user tidings-{service} "))).unwrap();
        let allowed: BTreeSet<String> =
            user.split(' ').filter_map(|word| word.strip_prefix('+')).map(str::to_owned).collect();
        let missing: Vec<_> = used.difference(&allowed).collect();
        let idle: Vec<_> = allowed.difference(&used).collect();
        assert!(
            missing.is_empty() && idle.is_empty(),
            "{service}: used and not allowed: {missing:?}; allowed and not used: {idle:?}"
        );
    }
}

#[test]
fn what_is_told_to_be_of_one_service_is_called_by_no_other() {
    let shared: BTreeSet<(String, String)> = sources("shared/src/").iter().flat_map(named).collect();
    let calls = |service: &str, call: &str| {
        sources(&format!("{service}/src/")).iter().any(|file| file.text.contains(call))
    };
    for (whose, place, by) in ONLY {
        assert!(shared.iter().any(|(there, _)| there == place), "no commands in {place}");
        let other = if whose == "gateway" { "persistence" } else { "gateway" };
        for call in by {
            assert!(calls(whose, call), "{place}: {whose} does not say {call}");
            for other in [other, "shared"] {
                assert!(!calls(other, call), "{place}: {other} says {call} as well");
            }
        }
    }
}
