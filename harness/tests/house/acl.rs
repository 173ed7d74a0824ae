//! The shipped Redis users may run exactly the commands that the sources of their service use.

use std::collections::BTreeSet;

use crate::tree::{File, read, tree};

const ACL_FILE: &str = "deploy/redis/users.acl";
/// Commands that the search for calls does not find, with the services that send them. The pub/sub connection encodes its
/// own commands. The previous version of persistence sends MULTI and EXEC, so they stay for one version.
const OTHER_COMMANDS: [(&[&str], &str); 3] = [
    (&["gateway", "persistence"], "subscribe ssubscribe"),
    (&["gateway"], "unsubscribe sunsubscribe"),
    (&["persistence"], "multi exec"),
];
/// Scripts and functions of `shared/` that only one service uses, with the calls that prove this: the calls occur in
/// the sources of this service, but neither in those of the other service nor in `shared/`. All other commands of
/// `shared/` count for both services.
const USED_BY_ONE_SERVICE: [(&str, &str, &[&str]); 31] = [
    ("gateway", "log/live.lua", &[".publish_live("]),
    ("gateway", "log/live.rs command", &[".publish_live("]),
    ("gateway", "membership.rs versions", &["membership::versions("]),
    ("gateway", "membership.rs cached_in", &["membership::cached_in("]),
    ("gateway", "membership.rs cached_account", &["membership::cached_account("]),
    ("gateway", "presence/claim.lua", &["presence::users_of_expired_lease("]),
    (
        "gateway",
        "presence/lease.lua",
        &["presence::begin_lease(", "presence::renew_lease(", "presence::end_lease("],
    ),
    ("gateway", "presence/node_leases.rs due_users", &["presence::due_users("]),
    ("gateway", "presence/node_leases.rs expired_leases", &["presence::expired_leases("]),
    ("gateway", "presence/node_leases.rs postpone_users", &["presence::postpone_users("]),
    ("gateway", "presence/members.rs cached_members", &["members::cached_members("]),
    ("gateway", "presence/members.rs cache_members", &["members::cache_members("]),
    ("gateway", "presence/put.lua", &["presence::write_states(", "presence::remove_states("]),
    ("gateway", "presence/rooms.lua", &["presence::cached_rooms("]),
    ("gateway", "presence/changes.rs changes_after", &["presence::changes_after("]),
    ("persistence", "log/blank.lua", &[".append_blank("]),
    ("persistence", "log/purge.rs append_blank", &[".append_blank("]),
    ("persistence", "log/purge.rs drop_tails", &[".drop_tails("]),
    ("persistence", "log/purge.rs block_appends", &[".block_appends("]),
    ("persistence", "log/purge.rs last_ingest_id", &[".last_ingest_id("]),
    ("persistence", "log/purge.rs first_tail_seq", &[".first_tail_seq("]),
    ("persistence", "log/owner.rs stored_command", &[".publish_stored("]),
    ("persistence", "log/owner.rs write_seed", &[".write_seed("]),
    ("persistence", "log/seed.lua", &[".write_seed("]),
    ("persistence", "log/stored.lua", &[".publish_stored("]),
    ("persistence", "membership.rs stamp", &["membership::stamp("]),
    (
        "persistence",
        "membership/changed.lua",
        &["membership::invalidate(", "membership::invalidate_account("],
    ),
    ("persistence", "membership/fill.lua", &["membership::fill("]),
    ("persistence", "membership/remember.lua", &["membership::cache_account("]),
    ("persistence", "presence/drained.lua", &["presence::remove_stored_last_seen("]),
    ("persistence", "presence/node_leases.rs unstored_last_seen", &["presence::unstored_last_seen("]),
];

/// The Redis commands in a file, each with its place: the file, and in Rust sources the function.
fn commands_in(file: &File) -> BTreeSet<(String, String)> {
    let path = file.path.trim_start_matches("shared/src/");
    let mut commands = BTreeSet::new();
    for opening in ["cmd(", ".call(", ".pcall("] {
        for (at, _) in file.text.match_indices(opening) {
            let rest = &file.text[at + opening.len()..];
            let Some(rest) = rest.strip_prefix(['"', '\'']) else { continue };
            let command: String =
                rest.chars().take_while(|letter| letter.is_ascii_uppercase() || *letter == '_').collect();
            if command.is_empty() {
                continue;
            }
            let arguments = rest.get(command.len() + 1..).unwrap_or_default();
            let below = [
                (").arg(\"LOAD\")", "|load"),
                (").arg(\"SLOTS\")", "|slots"),
                (").arg(\"USAGE\")", "|usage"),
                (", 'USAGE'", "|usage"),
            ];
            let below = below.iter().find(|(argument, _)| arguments.starts_with(argument));
            let command = format!("{}{}", command.to_lowercase(), below.map_or("", |(_, name)| name));
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

/// The sources of the crate in `folder`, without tests.
fn sources_of_service(folder: &str) -> Vec<File> {
    let of_crate = |file: &File| file.path.starts_with(folder) && !file.path.ends_with("tests.rs");
    tree().into_iter().filter(of_crate).collect()
}

#[test]
fn redis_users_may_run_exactly_their_services_commands() {
    let shared: BTreeSet<(String, String)> =
        sources_of_service("shared/src/").iter().flat_map(commands_in).collect();
    let users = read(ACL_FILE);
    for (service, other) in [("gateway", "persistence"), ("persistence", "gateway")] {
        let of_other = |place: &str| {
            USED_BY_ONE_SERVICE.iter().any(|(whose, only, _)| *whose == other && *only == place)
        };
        let mut used: BTreeSet<String> = shared
            .iter()
            .filter(|(place, _)| !of_other(place))
            .cloned()
            .chain(sources_of_service(&format!("{service}/src/")).iter().flat_map(commands_in))
            .map(|(_, command)| command)
            // Sentinels have users of their own, and so has push.
            .filter(|command| command != "sentinel" && command != "eval_ro")
            .collect();
        assert!(used.len() > 20, "the commands were not found: {used:?}");
        let others = OTHER_COMMANDS.iter().filter(|(services, _)| services.contains(&service));
        used.extend(others.flat_map(|(_, commands)| commands.split(' ').map(str::to_owned)));
        let user = users.lines().find(|line| line.starts_with(&format!("user tidings-{service} "))).unwrap();
        let allowed: BTreeSet<String> =
            user.split(' ').filter_map(|word| word.strip_prefix('+')).map(str::to_owned).collect();
        let missing: Vec<_> = used.difference(&allowed).collect();
        let unused: Vec<_> = allowed.difference(&used).collect();
        assert!(
            missing.is_empty() && unused.is_empty(),
            "{service}: used and not allowed: {missing:?}; allowed and not used: {unused:?}"
        );
    }
}

#[test]
fn commands_of_one_service_are_called_by_no_other() {
    let sources =
        ["gateway", "persistence", "shared"].map(|name| (name, sources_of_service(&format!("{name}/src/"))));
    let files_of =
        |service: &str| sources.iter().find(|(name, _)| *name == service).map(|(_, files)| files).unwrap();
    let shared: BTreeSet<(String, String)> = files_of("shared").iter().flat_map(commands_in).collect();
    let calls = |service: &str, call: &str| files_of(service).iter().any(|file| file.text.contains(call));
    for (whose, place, by) in USED_BY_ONE_SERVICE {
        assert!(shared.iter().any(|(there, _)| there == place), "no commands in {place}");
        let other = if whose == "gateway" { "persistence" } else { "gateway" };
        for call in by {
            assert!(calls(whose, call), "{place}: {whose} does not call {call}");
            for other in [other, "shared"] {
                assert!(!calls(other, call), "{place}: {other} calls {call} as well");
            }
        }
    }
}

#[test]
fn redis_user_of_push_may_only_read() {
    let users = read(ACL_FILE);
    let user = users.lines().find(|line| line.starts_with("user tidings-push ")).unwrap();
    let allowed: Vec<&str> = user.split(' ').filter_map(|word| word.strip_prefix('+')).collect();
    // The commands of `shared/src/presence/reader.rs` and of the script `states.lua`.
    assert_eq!(allowed, ["cluster|slots", "eval_ro", "hget", "hgetall", "info", "time", "zscore"]);
    let keys: Vec<&str> = user.split(' ').filter(|word| word.contains('~')).collect();
    assert!(!keys.is_empty() && keys.iter().all(|key| key.starts_with("%R~")), "{keys:?}");
    assert!(!user.contains(" &"), "push may use no channel");
}
