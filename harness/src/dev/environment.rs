//! Which settings in the developer's environment `./dev up` passes on to the nodes: all, except those that `up` chooses
//! itself, and variables of the tools. A misspelt setting is passed too, so that the node warns of it in its log.

/// Settings that `up` chooses for each node, or for all nodes and the other commands of `./dev` together. Secrets may
/// also come from files.
const CHOSEN_BY_UP: [&str; 23] = [
    "TIDINGS_LISTEN",
    "TIDINGS_ADMIN_LISTEN",
    "TIDINGS_INTERNAL_LISTEN",
    "TIDINGS_ADVERTISE_ADDRESS",
    "TIDINGS_NODE",
    "TIDINGS_PERSISTENCE_URLS",
    "TIDINGS_JWT_SECRET",
    "TIDINGS_JWT_SECRET_FILE",
    "TIDINGS_INTERNAL_SECRET",
    "TIDINGS_INTERNAL_SECRET_FILE",
    "TIDINGS_COMMIT",
    "TIDINGS_FILES_LISTEN",
    "TIDINGS_FILES_ADMIN_LISTEN",
    "TIDINGS_FILES_FOLDER",
    "TIDINGS_FILES_BUCKET",
    "TIDINGS_FILES_SECRET",
    "TIDINGS_FILES_SECRET_FILE",
    "TIDINGS_PUSH_LISTEN",
    "TIDINGS_PUSH_ADMIN_LISTEN",
    "TIDINGS_PUSH_VAPID_KEY",
    "TIDINGS_PUSH_VAPID_KEY_FILE",
    "TIDINGS_WEBHOOKS_LISTEN",
    "TIDINGS_WEBHOOKS_ADMIN_LISTEN",
];
/// Beginnings of the variables of `./dev`, of the tests, and of other programs of this repository.
const TOOL_PREFIXES: [&str; 14] = [
    "TIDINGS_BIN_DIR",
    "TIDINGS_BROWSER",
    "TIDINGS_CHROMIUM",
    "TIDINGS_DEMO_",
    "TIDINGS_DEV_",
    "TIDINGS_FIREFOX",
    "TIDINGS_POSTGRES_BIN",
    "TIDINGS_PYTHON_SOCKETIO",
    "TIDINGS_S3_SERVER",
    "TIDINGS_SABOTAGE",
    "TIDINGS_SCHEMATHESIS",
    "TIDINGS_TEST_",
    "TIDINGS_TOOLS",
    "TIDINGS_WRITE_",
];

/// Whether a variable is passed on to the nodes.
pub fn is_passed_on(name: &str) -> bool {
    is_setting(name) && !CHOSEN_BY_UP.contains(&name)
}

/// Whether a variable is a setting that `up` does not pass on, because it chooses the value itself.
pub fn is_ignored_setting(name: &str) -> bool {
    is_setting(name) && CHOSEN_BY_UP.contains(&name)
}

fn is_setting(name: &str) -> bool {
    name.starts_with("TIDINGS_") && !TOOL_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_passed_on_unless_up_chooses_them() {
        for name in ["TIDINGS_LOG", "TIDINGS_SOCKET_IO_RECOVERY", "TIDINGS_JWKS_URL", "TIDINGS_HARTBEAT_MS"] {
            assert!(is_passed_on(name) && !is_ignored_setting(name), "{name}");
        }
        for name in CHOSEN_BY_UP {
            assert!(!is_passed_on(name) && is_ignored_setting(name), "{name}");
        }
        for name in ["TIDINGS_DEV_DIR", "TIDINGS_TEST_REDIS", "REDIS_URL", "PATH"] {
            assert!(!is_passed_on(name) && !is_ignored_setting(name), "{name}");
        }
    }
}
