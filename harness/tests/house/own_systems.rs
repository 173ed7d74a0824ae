//! The systems of tests: a module that starts its own is listed here with its reason, and the setup script of nextest
//! runs for every module that uses the shared one. A test needs its own system if it breaks, configures or counts
//! something. All other tests share the system of the run (`Stack::shared`), because a start costs seconds.

use std::collections::BTreeSet;

use crate::tree::{File, assert_none, read, sources};

const TESTS: &str = "harness/tests/";
const NEXTEST: &str = ".config/nextest.toml";
const SETUP_SCRIPT: &str = "setup = \"shared-system\"";

/// The modules that start systems of their own, sorted, and what at least one test of the module does.
#[rustfmt::skip]
const OWN_SYSTEMS: &[(&str, &str)] = &[
    ("auth/auth_key_server", "own settings"),
    ("auth/auth_keys", "own settings"),
    ("auth/auth_origins", "own settings"),
    ("auth/auth_settings", "own settings, reads logs, uses the internal listener"),
    ("auth/auth_token_route", "own settings, uses SQL"),
    ("auth/auth_users", "own settings, uses SQL"),
    ("auth/cluster_rights", "disturbs Redis, own settings, uses SQL"),
    ("auth/internal_tls", "own settings, uses the internal listener"),
    ("auth/revocation", "own settings, loads the machine"),
    ("auth/revocation_faults", "stops nodes, disturbs Redis, own settings"),
    ("auth/rotation", "own settings, reads logs, uses the internal listener"),
    ("auth/security_frames", "measures memory"),
    ("auth/security_handshake", "measures memory"),
    ("auth/security_http", "measures memory"),
    ("auth/security_reads", "own settings, uses SQL, measures memory"),
    ("auth/security_rooms", "own settings, uses SQL, measures memory"),
    ("auth/visibility", "loads the machine"),
    ("faults/drain", "stops nodes, own settings, uses SQL"),
    ("faults/drain_persistence", "stops nodes, own settings, uses SQL"),
    ("faults/faults_clock", "stops nodes, disturbs Redis, disturbs PostgreSQL"),
    ("faults/lost_commits", "disturbs Redis, disturbs PostgreSQL, uses SQL"),
    ("faults/postgres_away", "stops nodes, disturbs PostgreSQL, own settings"),
    ("faults/postgres_faults", "stops nodes, disturbs PostgreSQL, own settings"),
    ("faults/postgres_gone", "stops nodes, disturbs PostgreSQL, uses SQL"),
    ("faults/rolling", "stops nodes, own settings, reads logs"),
    ("http/audit", "stops nodes, own settings, uses SQL"),
    ("http/callers", "starts further services, own settings, uses SQL"),
    ("http/erase", "stops nodes, uses SQL"),
    ("http/erase_for_good", "own settings, uses SQL, uses Redis"),
    ("http/erase_late", "stops nodes, uses SQL, uses Redis"),
    ("http/export", "uses SQL, measures memory"),
    ("http/feed", "stops nodes, uses SQL, uses Redis"),
    ("http/files_downloads", "starts further services"),
    ("http/files_uploads", "stops nodes, starts further services"),
    ("http/http_answers", "uses SQL, reads logs, measures memory"),
    ("http/http_bounds", "disturbs Redis, own settings, uses SQL"),
    ("http/http_history", "uses SQL"),
    ("http/http_rooms", "disturbs Redis, uses SQL, uses the admin listener"),
    ("http/http_send", "disturbs Redis, own settings, uses SQL"),
    ("http/import_history", "disturbs Redis, uses SQL"),
    ("http/internal_listener", "stops nodes, disturbs PostgreSQL, uses SQL"),
    ("http/internal_memberships", "uses SQL, uses Redis, uses the internal listener"),
    ("http/internal_seeds", "uses SQL, uses Redis"),
    ("http/openapi/stage", "uses SQL"),
    ("http/page_bytes", "own settings"),
    ("http/webhooks", "starts further services, uses SQL"),
    ("messages/changes", "disturbs Redis, uses SQL"),
    ("messages/changes_late", "stops nodes, disturbs PostgreSQL, uses SQL"),
    ("messages/changes_model", "stops nodes, uses SQL, uses Redis"),
    ("messages/changes_seen", "uses SQL, uses Redis"),
    ("messages/conversation", "stops nodes, disturbs Redis"),
    ("messages/conversation_order", "disturbs Redis"),
    ("messages/deflate", "own settings, reads metrics"),
    ("messages/dialect_rooms", "own settings"),
    ("messages/engine_io_gateway", "stops nodes, own settings"),
    ("messages/engine_io_nodes", "stops nodes, own settings, uses SQL"),
    ("messages/epochs", "stops nodes, disturbs Redis"),
    ("messages/flow_history_and_presence", "stops nodes"),
    ("messages/flow_http_and_private", "own settings"),
    ("messages/flow_outbox", "stops nodes"),
    ("messages/gateway_frames", "reads metrics"),
    ("messages/gateway_input", "own settings, uses SQL"),
    ("messages/mentions", "uses SQL"),
    ("messages/poll", "own settings"),
    ("messages/poll_ends", "stops nodes, own settings, reads metrics"),
    ("messages/poll_kept", "own settings, uses Redis, reads metrics"),
    ("messages/poll_limits", "own settings, uses Redis, reads metrics"),
    ("messages/replay_storm", "uses proxies, own settings, reads logs"),
    ("messages/search", "stops nodes, disturbs Redis, uses SQL"),
    ("messages/search_blocks", "disturbs Redis, uses SQL"),
    ("messages/search_folding", "stops nodes, own settings, uses SQL"),
    ("messages/search_hidden", "stops nodes, uses SQL"),
    ("messages/search_look", "stops nodes, own settings, uses SQL"),
    ("messages/socket_io_ends", "stops nodes, own settings"),
    ("messages/socket_io_polling", "stops nodes, own settings"),
    ("messages/socket_io_recovery", "disturbs Redis, own settings"),
    ("messages/stock_conversations", "stops nodes"),
    ("messages/stock_dialects", "own settings"),
    ("messages/stock_recovery", "own settings"),
    ("messages/too_few_replicas", "disturbs Redis"),
    ("operations/balancer", "own settings, starts further services, uses SQL"),
    ("operations/balancer_limits", "own settings"),
    ("operations/balancer_rolling", "stops nodes, own settings, reads metrics"),
    ("operations/config", "stops nodes, disturbs Redis"),
    ("operations/containers", "stops nodes, own settings, uses SQL"),
    ("operations/deploy", "stops nodes, disturbs Redis, own settings"),
    ("operations/idle", "stops nodes, own settings, uses SQL"),
    ("operations/node_names", "own settings, uses SQL, uses Redis"),
    ("operations/play", "own settings"),
    ("operations/probe", "stops nodes, own settings"),
    ("operations/redis_migration", "own settings, uses SQL"),
    ("operations/redis_sentinel", "disturbs Redis"),
    ("operations/telemetry", "stops nodes, own settings, reads logs"),
    ("operations/telemetry_metrics", "stops nodes, disturbs Redis, disturbs PostgreSQL"),
    ("operations/telemetry_private", "disturbs Redis, own settings, uses Redis"),
    ("operations/telemetry_shards", "uses Redis, reads metrics, reads logs"),
    ("operations/telemetry_socket_io", "stops nodes, own settings, uses Redis"),
    ("operations/telemetry_tls", "own settings, reads logs"),
    ("operations/telemetry_untrusted", "own settings"),
    ("operations/telemetry_zero", "disturbs Redis, reads metrics"),
    ("operations/watch", "disturbs Redis, disturbs PostgreSQL, own settings"),
    ("operations/watch/outage", "disturbs PostgreSQL, own settings"),
    ("operations/watch_blind", "own settings, uses the admin listener"),
    ("operations/watch_exporters", "stops nodes, disturbs Redis, disturbs PostgreSQL"),
    ("operations/watch_faults", "stops nodes, disturbs Redis, disturbs PostgreSQL"),
    ("operations/watch_load", "own settings, measures memory"),
    ("rooms/away_shard", "disturbs Redis, uses SQL"),
    ("rooms/lagging", "stops nodes, own settings, uses SQL"),
    ("rooms/large_room", "own settings"),
    ("rooms/limits", "own settings, reads metrics"),
    ("rooms/many_rooms", "uses SQL, uses Redis"),
    ("rooms/membership", "own settings, uses SQL"),
    ("rooms/membership_behind", "own settings, uses SQL, uses Redis"),
    ("rooms/membership_concurrency", "disturbs Redis, own settings, uses SQL"),
    ("rooms/membership_limits", "own settings, uses SQL, uses Redis"),
    ("rooms/membership_live", "uses Redis"),
    ("rooms/membership_telling", "stops nodes, disturbs Redis, own settings"),
    ("rooms/notice_order", "uses Redis"),
    ("rooms/presence_faults", "stops nodes, disturbs Redis, uses SQL"),
    ("rooms/presence_rooms", "stops nodes, own settings, uses Redis"),
    ("rooms/receipts", "own settings"),
    ("rooms/receipts_marks", "disturbs Redis, uses SQL, uses Redis"),
    ("rooms/rooms_version", "disturbs Redis, uses Redis"),
    ("rooms/slow_mode", "disturbs Redis, uses Redis"),
    ("rooms/typing", "uses SQL, uses Redis"),
    ("rooms/user_channel", "stops nodes, disturbs Redis, own settings"),
    ("rules/replay", "own settings, uses SQL, reads logs"),
    ("rules/rules_seeds_late", "stops nodes, disturbs Redis, has proxies or clocks"),
    ("rules/rules_stored", "disturbs Redis, own settings, uses SQL"),
    ("storage/dead_letters", "disturbs Redis, uses SQL"),
    ("storage/epoch_cleanup", "stops nodes, disturbs Redis, uses SQL"),
    ("storage/epochs_sql", "stops nodes, disturbs Redis, uses SQL"),
    ("storage/explain", "stops nodes, disturbs PostgreSQL, own settings"),
    ("storage/ingest_faults", "stops nodes, disturbs Redis, disturbs PostgreSQL"),
    ("storage/ingest_leases", "stops nodes, own settings, uses SQL"),
    ("storage/ingest_once", "own settings, uses SQL, uses Redis"),
    ("storage/ingest_shards", "disturbs Redis, uses SQL, uses the internal listener"),
    ("storage/ingest_silence", "stops nodes, uses SQL, uses Redis"),
    ("storage/ingest_statement", "own settings, uses SQL, uses Redis"),
    ("storage/locked_partition", "disturbs Redis, own settings, uses SQL"),
    ("storage/open_snapshot", "disturbs PostgreSQL, own settings, uses SQL"),
    ("storage/restore", "stops nodes, disturbs Redis, uses SQL"),
    ("storage/retention", "disturbs Redis, disturbs PostgreSQL, uses SQL"),
    ("storage/retention_stream", "uses SQL, uses Redis"),
    ("support/importing", "uses SQL"),
    ("support/marked", "uses SQL"),
    ("support/show", "plays while a test breaks nodes"),
];

/// The modules of tests whose code contains one of these calls, without the rules of the house.
fn modules_that_call(calls: &[&str]) -> BTreeSet<String> {
    let calls_one = |file: &File| calls.iter().any(|call| file.code().contains(call));
    let module = |file: File| file.path.strip_prefix(TESTS)?.strip_suffix(".rs").map(str::to_owned);
    let modules = sources(TESTS).into_iter().filter(calls_one).filter_map(module);
    modules.filter(|module| !module.starts_with("house/")).collect()
}

#[test]
fn modules_with_own_systems_are_listed_with_a_reason() {
    let found = modules_that_call(&["Stack::start()", "Stack::builder()"]);
    let listed: BTreeSet<String> = OWN_SYSTEMS.iter().map(|(module, _)| (*module).to_owned()).collect();
    let mut broken: Vec<String> = Vec::new();
    let missing = found.difference(&listed);
    broken.extend(
        missing.map(|it| format!("{it} starts a system: use Stack::shared(), or list it with a reason")),
    );
    broken.extend(
        listed.difference(&found).map(|it| format!("{it} starts no system: remove it from the list")),
    );
    let unordered = OWN_SYSTEMS.windows(2).filter(|pair| pair[0].0 >= pair[1].0);
    broken.extend(unordered.map(|pair| format!("{} stands before {}", pair[0].0, pair[1].0)));
    let reasonless = OWN_SYSTEMS.iter().filter(|(_, reason)| reason.is_empty());
    broken.extend(reasonless.map(|(module, _)| format!("{module} has no reason")));
    assert_none("systems of tests", &broken);
}

#[test]
fn setup_script_runs_for_modules_with_the_shared_system() {
    let config = read(NEXTEST);
    let rules: Vec<&str> = config.split("\n\n").filter(|rule| rule.contains(SETUP_SCRIPT)).collect();
    let [rule] = rules[..] else { panic!("{NEXTEST} has {} rules with {SETUP_SCRIPT}", rules.len()) };
    let names = rule.split_once("test(/^(").and_then(|(_, rest)| rest.split_once(")::/)"));
    let listed: Vec<&str> = names.unwrap_or_else(|| panic!("{rule}")).0.split('|').collect();
    let users = modules_that_call(&["Stack::shared()"]);
    let mut expected: Vec<&str> = users.iter().filter_map(|module| module.split('/').next_back()).collect();
    expected.sort_unstable();
    assert_eq!(listed, expected, "{NEXTEST}: the names of these modules, sorted");
}
