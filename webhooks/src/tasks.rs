//! The subcommands of the program.

use crate::config::Config;

tidings_persistence::companion_tasks!(
    Config,
    "TIDINGS_WEBHOOKS_LISTEN",
    "TIDINGS_WEBHOOKS_ADMIN_LISTEN",
    "127.0.0.1:8083"
);
