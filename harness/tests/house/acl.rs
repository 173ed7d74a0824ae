//! The user that Redis is shipped with may what the sources do, no more and no less.

use std::collections::BTreeSet;

use crate::tree::{read, tree};

const USERS: &str = "deploy/redis/users.acl";
/// The client library has functions for these.
const OF_THE_LIBRARY: [&str; 4] = ["exec", "multi", "subscribe", "unsubscribe"];

/// The commands that are named right behind one of these words.
fn named(text: &str) -> BTreeSet<String> {
    let mut commands = BTreeSet::new();
    for opening in ["cmd(", ".call(", ".pcall("] {
        for rest in text.split(opening).skip(1) {
            let Some(rest) = rest.strip_prefix(['"', '\'']) else { continue };
            let command: String = rest.chars().take_while(char::is_ascii_uppercase).collect();
            let below = rest.get(command.len() + 1..).and_then(|rest| rest.strip_prefix(").arg(\"LOAD\")"));
            commands.insert(match below {
                Some(_) => format!("{}|load", command.to_lowercase()),
                None => command.to_lowercase(),
            });
        }
    }
    commands.remove("");
    commands
}

#[test]
fn the_user_of_redis_may_what_the_sources_do_no_more_and_no_less() {
    let places = ["shared/src/", "gateway/src/", "persistence/src/"];
    let sources = tree().into_iter().filter(|file| {
        places.iter().any(|place| file.path.starts_with(place)) && !file.path.ends_with("tests.rs")
    });
    let mut used: BTreeSet<String> = sources.flat_map(|file| named(&file.text)).collect();
    assert!(used.len() > 20, "the commands were not found: {used:?}");
    used.extend(OF_THE_LIBRARY.map(str::to_owned));
    let users = read(USERS);
    let user = users.lines().find(|line| line.starts_with("user tidings ")).unwrap();
    let allowed: BTreeSet<String> =
        user.split(' ').filter_map(|word| word.strip_prefix('+')).map(str::to_owned).collect();
    let missing: Vec<_> = used.difference(&allowed).collect();
    let idle: Vec<_> = allowed.difference(&used).collect();
    assert!(
        missing.is_empty() && idle.is_empty(),
        "used and not allowed: {missing:?}; allowed and not used: {idle:?}"
    );
}
