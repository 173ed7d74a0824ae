//! Warns of environment variables that look like settings but are not. Most such variables are typing errors, which
//! nobody would notice without a warning.

use std::collections::BTreeSet;

use super::resolve::Environment;

/// Prefix of the environment variables of settings.
const SETTING_PREFIX: &str = "TIDINGS_";
/// The variables that are settings of only one of the two services. Neither service warns of them, because one file of
/// variables may be used for both services. A test compares this list with the settings.
pub const ONE_SERVICE_VARIABLES: &[&str] = &[
    "TIDINGS_ABUSE_PER_MINUTE",
    "TIDINGS_ADVERTISE_ADDRESS",
    "TIDINGS_AUDIT_DAYS",
    "TIDINGS_COMMANDS_PER_SECOND",
    "TIDINGS_CONNECTIONS_PER_USER",
    "TIDINGS_DATABASE_CONNECTIONS",
    "TIDINGS_DEFLATE",
    "TIDINGS_DRAIN_MS",
    "TIDINGS_FRAMES_BURST",
    "TIDINGS_FRAMES_PER_SECOND",
    "TIDINGS_HEARTBEAT_MS",
    "TIDINGS_INTERNAL_LISTEN",
    "TIDINGS_INTERNAL_TLS_CA",
    "TIDINGS_INTERNAL_TLS_CERT",
    "TIDINGS_INTERNAL_TLS_CLIENT_CA",
    "TIDINGS_INTERNAL_TLS_CLIENT_CERT",
    "TIDINGS_INTERNAL_TLS_CLIENT_KEY",
    "TIDINGS_INTERNAL_TLS_KEY",
    "TIDINGS_JOINS_PER_SECOND",
    "TIDINGS_LEASE_MS",
    "TIDINGS_MAX_MEMBERS_PER_ROOM",
    "TIDINGS_MAX_ROOMS_BY_OTHERS",
    "TIDINGS_MAX_ROOMS_PER_USER",
    "TIDINGS_MEMBERS_PER_DAY",
    "TIDINGS_NEW_USERS_PER_DAY",
    "TIDINGS_PERSISTENCE_URLS",
    "TIDINGS_POLLS_PER_SECOND",
    "TIDINGS_READS_PER_SECOND",
    "TIDINGS_ROOMS_PER_DAY",
    "TIDINGS_SIGNALS_PER_SECOND",
    "TIDINGS_SOCKET_IO",
    "TIDINGS_SOCKET_IO_DIALECT",
    "TIDINGS_SOCKET_IO_NAMESPACES",
    "TIDINGS_SOCKET_IO_PATH",
    "TIDINGS_SOCKET_IO_RECOVERY",
    "TIDINGS_TYPING_PER_SECOND",
    "TIDINGS_USERS",
    "TIDINGS_WEBSOCKET",
    "TIDINGS_WORKERS",
];
/// Variables with the prefix that have a meaning, but are not settings of a service.
const OTHER_KNOWN_VARIABLES: &[&str] =
    &[crate::sabotage::FAULT_VARIABLE, crate::sabotage::RULES_VARIABLE, "TIDINGS_COMMIT"];
/// Largest edit distance at which a known variable is suggested.
const MAX_SUGGESTION_DISTANCE: usize = 3;

/// Returns a warning for each variable that has the prefix of settings, but is neither in `known` nor otherwise used.
#[must_use]
pub fn unknown_variable_warnings<'a>(
    environment: &Environment,
    known: impl Iterator<Item = &'a str>,
) -> Vec<String> {
    let known: BTreeSet<&str> = known.chain(ONE_SERVICE_VARIABLES.iter().copied()).collect();
    let is_known = |name: &str| known.contains(name) || OTHER_KNOWN_VARIABLES.contains(&name);
    let names = environment.iter().filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?)));
    names
        .filter(|(name, value)| {
            name.starts_with(SETTING_PREFIX) && !is_known(name) && !is_service_link(name, value)
        })
        .map(|(name, _)| match nearest_variable(name, &known) {
            Some(meant) => format!("the variable {name} is not a setting; did you mean {meant}?"),
            None => format!("the variable {name} is not a setting"),
        })
        .collect()
}

/// Whether Kubernetes has set this variable. In each pod, Kubernetes sets variables that begin with the names of
/// services, such as `TIDINGS_GATEWAY_SERVICE_HOST`.
fn is_service_link(name: &str, value: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT") && (value.contains("://") || name.contains("_TCP") || name.contains("_UDP"))
}

fn nearest_variable<'a>(name: &str, known: &BTreeSet<&'a str>) -> Option<&'a str> {
    let near = known.iter().map(|known| (strsim::levenshtein(name, known), *known));
    near.filter(|(distance, _)| *distance <= MAX_SUGGESTION_DISTANCE).min().map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_variable_with_prefix_is_reported() {
        let environment: Environment = [
            ("TIDINGS_HARTBEAT_MS", "5"),
            ("TIDINGS_LISTEN", "x"),
            ("TIDINGS_LISTN", "x"),
            ("TIDINGS_OF_ANOTHER_WORLD", ""),
            ("TIDINGS_GATEWAY_SERVICE_HOST", "10.0.0.1"),
            ("TIDINGS_GATEWAY_PORT", "tcp://10.0.0.1:80"),
            ("TIDINGS_GATEWAY_PORT_8080_TCP_PROTO", "tcp"),
            ("HOME", "/"),
        ]
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
        let warnings = unknown_variable_warnings(&environment, ["TIDINGS_LISTEN"].into_iter());
        assert_eq!(
            warnings,
            [
                "the variable TIDINGS_HARTBEAT_MS is not a setting; did you mean TIDINGS_HEARTBEAT_MS?",
                "the variable TIDINGS_LISTN is not a setting; did you mean TIDINGS_LISTEN?",
                "the variable TIDINGS_OF_ANOTHER_WORLD is not a setting",
            ]
        );
    }
}
