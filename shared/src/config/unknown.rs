//! Variables that look like settings and are none: most are typing errors, and silently without effect.

use std::collections::BTreeSet;

use super::resolve::Environment;

/// What the variables of settings begin with.
const PREFIX: &str = "TIDINGS_";
/// Settings of either service (a test holds the list against both): one file of variables may serve both.
pub const OF_A_SERVICE: &[&str] = &[
    "TIDINGS_ABUSE_PER_MINUTE",
    "TIDINGS_ADMIN_LISTEN",
    "TIDINGS_ALLOWED_ORIGINS",
    "TIDINGS_COMMANDS_PER_SECOND",
    "TIDINGS_CONNECTIONS_PER_USER",
    "TIDINGS_DATABASE_CONNECTIONS",
    "TIDINGS_DEFLATE",
    "TIDINGS_DRAIN_MS",
    "TIDINGS_FRAMES_BURST",
    "TIDINGS_FRAMES_PER_SECOND",
    "TIDINGS_HEARTBEAT_MS",
    "TIDINGS_INTERNAL_LISTEN",
    "TIDINGS_INTERNAL_SECRET",
    "TIDINGS_INTERNAL_SECRET_FILE",
    "TIDINGS_JOINS_PER_SECOND",
    "TIDINGS_JWKS_FILE",
    "TIDINGS_JWKS_URL",
    "TIDINGS_JWT_ALGORITHMS",
    "TIDINGS_JWT_AUDIENCE",
    "TIDINGS_JWT_ISSUER",
    "TIDINGS_JWT_LEEWAY_S",
    "TIDINGS_JWT_NAME_CLAIM",
    "TIDINGS_JWT_PICTURE_CLAIM",
    "TIDINGS_JWT_PUBLIC_KEY",
    "TIDINGS_JWT_SCOPE_CLAIM",
    "TIDINGS_JWT_SECRET",
    "TIDINGS_JWT_SECRET_FILE",
    "TIDINGS_JWT_USER_CLAIM",
    "TIDINGS_LEASE_MS",
    "TIDINGS_LISTEN",
    "TIDINGS_LOG",
    "TIDINGS_MARKS_PER_SECOND",
    "TIDINGS_MAX_BACKLOG_RECORDS",
    "TIDINGS_MAX_MEMBERS_PER_ROOM",
    "TIDINGS_MAX_MESSAGE_CHARS",
    "TIDINGS_MAX_ROOMS_PER_USER",
    "TIDINGS_MESSAGES_BURST",
    "TIDINGS_MESSAGES_PER_SECOND",
    "TIDINGS_NODE",
    "TIDINGS_OTLP_CA_FILE",
    "TIDINGS_OTLP_ENDPOINT",
    "TIDINGS_PERSISTENCE_URLS",
    "TIDINGS_POLLS_PER_SECOND",
    "TIDINGS_PRESENCE_PER_SECOND",
    "TIDINGS_REDIS_CA_FILE",
    "TIDINGS_REDIS_PASSWORD",
    "TIDINGS_REDIS_PASSWORD_FILE",
    "TIDINGS_SIGNALS_PER_SECOND",
    "TIDINGS_TRACE_RATIO",
    "TIDINGS_TYPING_PER_SECOND",
    "TIDINGS_UNREADY_MS",
    "TIDINGS_USERS",
    "TIDINGS_WEBSOCKET",
    "TIDINGS_WORKERS",
];
/// Read by what is no setting.
const NO_SETTINGS: &[&str] = &[crate::sabotage::VARIABLE, "TIDINGS_COMMIT"];
/// So many letters may differ from what was meant.
const NEAR: usize = 3;

/// A sentence for each variable that is not `known`.
#[must_use]
pub fn unknown(environment: &Environment, known: &BTreeSet<String>) -> Vec<String> {
    let known =
        |name: &str| known.contains(name) || OF_A_SERVICE.contains(&name) || NO_SETTINGS.contains(&name);
    let names = environment.iter().filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?)));
    names
        .filter(|(name, value)| name.starts_with(PREFIX) && !known(name) && !is_a_link(name, value))
        .map(|(name, _)| match nearest(name) {
            Some(meant) => format!("the variable {name} is no setting: is {meant} meant?"),
            None => format!("the variable {name} is no setting"),
        })
        .collect()
}

/// Kubernetes tells each pod of the services around it by variables that begin with the service's name.
fn is_a_link(name: &str, value: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT") && (value.contains("://") || name.contains("_TCP") || name.contains("_UDP"))
}

fn nearest(name: &str) -> Option<&'static str> {
    let near = OF_A_SERVICE.iter().map(|known| (distance(name, known), *known));
    near.filter(|(distance, _)| *distance <= NEAR).min().map(|(_, known)| known)
}

/// Letters that are to be put in, taken out or changed.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (number, letter) in one.bytes().enumerate() {
        let mut before = std::mem::replace(&mut row[0], number + 1);
        for (at, its) in other.bytes().enumerate() {
            let cost = before + usize::from(letter != its);
            before = row[at + 1];
            row[at + 1] = cost.min(before + 1).min(row[at] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_setting_and_is_none_is_told() {
        let environment: Environment = [
            ("TIDINGS_HARTBEAT_MS", "5"),
            ("TIDINGS_LISTEN", "x"),
            ("TIDINGS_OF_ANOTHER_WORLD", ""),
            ("TIDINGS_GATEWAY_SERVICE_HOST", "10.0.0.1"),
            ("TIDINGS_GATEWAY_PORT", "tcp://10.0.0.1:80"),
            ("TIDINGS_GATEWAY_PORT_8080_TCP_PROTO", "tcp"),
            ("HOME", "/"),
        ]
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
        let known = BTreeSet::from(["TIDINGS_LISTEN".to_owned()]);
        let told = unknown(&environment, &known);
        assert_eq!(
            told,
            [
                "the variable TIDINGS_HARTBEAT_MS is no setting: is TIDINGS_HEARTBEAT_MS meant?",
                "the variable TIDINGS_OF_ANOTHER_WORLD is no setting",
            ]
        );
    }

    #[test]
    fn distances_are_counted_in_letters() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }
}
