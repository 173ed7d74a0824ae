//! Warns of environment variables that look like settings but are not. Most of them are typing errors, which nobody
//! would notice without a warning.

use std::collections::BTreeSet;

use super::resolve::Environment;

/// Prefix of the variables of settings.
const PREFIX: &str = "TIDINGS_";
/// The variables of both services. Each service knows all of them, because one file of variables may serve both. A test
/// compares this list with the settings.
pub const SERVICE_VARIABLES: &[&str] = &[
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
/// Variables that have a meaning but are not settings.
const NOT_SETTINGS: &[&str] = &[crate::sabotage::VARIABLE, "TIDINGS_COMMIT"];
/// Largest edit distance at which a known variable is suggested.
const MAX_SUGGESTION_DISTANCE: usize = 3;

/// One warning for each variable that has the prefix of settings but is not known.
#[must_use]
pub fn unknown(environment: &Environment, known: &BTreeSet<String>) -> Vec<String> {
    let known = |name: &str| {
        known.contains(name) || SERVICE_VARIABLES.contains(&name) || NOT_SETTINGS.contains(&name)
    };
    let names = environment.iter().filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?)));
    names
        .filter(|(name, value)| name.starts_with(PREFIX) && !known(name) && !is_service_link(name, value))
        .map(|(name, _)| match nearest(name) {
            Some(meant) => format!("the variable {name} is not a setting; did you mean {meant}?"),
            None => format!("the variable {name} is not a setting"),
        })
        .collect()
}

/// Whether Kubernetes has set this variable: it describes services to each pod in variables that begin with their
/// names, such as `TIDINGS_GATEWAY_SERVICE_HOST`.
fn is_service_link(name: &str, value: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT") && (value.contains("://") || name.contains("_TCP") || name.contains("_UDP"))
}

fn nearest(name: &str) -> Option<&'static str> {
    let near = SERVICE_VARIABLES.iter().map(|known| (strsim::levenshtein(name, known), *known));
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
                "the variable TIDINGS_HARTBEAT_MS is not a setting; did you mean TIDINGS_HEARTBEAT_MS?",
                "the variable TIDINGS_OF_ANOTHER_WORLD is not a setting",
            ]
        );
    }
}
