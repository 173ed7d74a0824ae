//! The subcommands of the program.

use crate::config::Config;

tidings_persistence::companion_tasks!(
    Config,
    "TIDINGS_FILES_LISTEN",
    "TIDINGS_FILES_ADMIN_LISTEN",
    "127.0.0.1:8084"
);
