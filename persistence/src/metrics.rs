//! All metrics of the persistence service, in one list.

use tidings_shared::log::shard_map::{ShardMap, shard_label};

tidings_shared::metrics! {
    /// The metrics of this process.
    pub struct Metrics {
        batch_records: Histogram(1.0, 10.0, 50.0, 100.0, 250.0, 500.0, 1000.0) = "tidings_persistence_batch_records", "Records of a committed batch";
        write_seconds: Histogram(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0) = "tidings_persistence_write_seconds", "Time to commit a batch, seconds";
        stored_seconds: Histogram(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0) = "tidings_persistence_stored_seconds", "Time from the append of a message to its commit, seconds";
        messages: IntCounter = "tidings_persistence_messages_total", "Messages written";
        events: IntCounter = "tidings_persistence_events_total", "Events other than messages written, voids included";
        retries: IntCounterVec["cause"] = "tidings_persistence_retries_total", "Batches tried again, by cause";
        records: IntCounterVec["shard"] = "tidings_persistence_records_total", "Records of committed batches, by shard: the address of the Redis master that serves their partition";
        voids: IntCounter = "tidings_persistence_voids_total", "Late duplicates and rejected records that became voids";
        void_notices: IntCounter = "tidings_persistence_void_notices_total", "Void notices (message:void) appended to logs";
        dead_letters: IntCounter = "tidings_persistence_dead_letters_total", "Records that could not be written";
        left_out: IntCounter = "tidings_persistence_passed_over_total", "Records left out because their epoch ended below them";
        holes: IntCounter = "tidings_persistence_holes_total", "Records that did not follow on their room's head: must stay 0";
        lost_commit_partitions: IntGauge = "tidings_persistence_lost_commit_partitions", "Partitions of which PostgreSQL has lost commits that Redis knows. They store nothing until after-restore has run";
        settlings: IntCounter = "tidings_persistence_settlings_total", "Partitions whose watermark was set again";
        leases: IntGauge = "tidings_persistence_leases", "Partitions owned by this replica";
        lease_changes: IntCounterVec["change"] = "tidings_persistence_lease_changes_total", "Leases taken, released and lost";
        backlog_records: IntGaugeVec["shard"] = "tidings_persistence_backlog_records", "Records of owned partitions that wait to be written, by shard, which is the address of a Redis master. A shard that cannot be reached is left out";
        backlog_bytes: IntGaugeVec["shard"] = "tidings_persistence_backlog_bytes", "Memory of Redis that these records need, bytes, estimated, by shard";
        oldest_unwritten_seconds: GaugeVec["shard"] = "tidings_persistence_oldest_unwritten_seconds", "Age of the oldest record that waits to be written, seconds, by shard";
        key_fetches: IntCounterVec["result"] = "tidings_persistence_key_fetches_total", "Fetches of the keys that tokens are checked with, by result: good or failed";
        last_seen: IntCounter = "tidings_persistence_last_seen_total", "Users who went offline and whose last activity was stored";
        pool_connections: IntGaugeVec["pool", "state"] = "tidings_persistence_pool_connections", "Connections to PostgreSQL, by pool (http, writer, behind, authority, accounts or readiness) and state (idle or used)";
        pool_limit: IntGaugeVec["pool"] = "tidings_persistence_pool_limit", "Connections to PostgreSQL that a pool may have";
        database_failures: IntCounterVec["cause"] = "tidings_persistence_database_failures_total", "Statements that failed because PostgreSQL could not be used, by cause: refused, unreachable, tls, authentication, no_database, too_many_connections, starting, stopping, read_only, disk_full, lost, no_answer, pool_exhausted or other";
        http_requests: IntCounterVec["route", "status"] = "tidings_persistence_http_requests_total", "Requests answered, by route and status";
        http_seconds: HistogramVec["route"](0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0) = "tidings_persistence_http_seconds", "Time to answer a request, seconds, by route";
        search_lag_seconds: Gauge = "tidings_persistence_search_lag_seconds", "How long the room that is due longest has waited to be indexed for search, seconds";
        search_rooms_waiting: IntGauge = "tidings_persistence_search_rooms_waiting", "Rooms that are due to be indexed for search";
        search_indexed: IntCounter = "tidings_persistence_search_indexed_total", "Messages put into the index of search, again whenever their block is written";
        search_failures: IntCounter = "tidings_persistence_search_failures_total", "Rooms that could not be indexed for search and were left for later";
        feed_entries: IntCounter = "tidings_persistence_feed_entries_total", "Entries of answered pages of the feed";
        feed_requests: IntGauge = "tidings_persistence_feed_requests", "Requests for the feed that run or wait for events";
        feed_lag_seconds: Histogram(0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0, 86400.0) = "tidings_persistence_feed_lag_seconds", "How long the oldest event after an answered page of the feed had been stored, seconds; 0 for a consumer that has read everything";
        ready: IntGauge = "tidings_persistence_ready", "1 while this replica is ready, as in /readyz, else 0";
        secrets_in_use: IntGaugeVec["setting", "position", "fingerprint"] = "tidings_persistence_secrets_in_use", "1 for each secret, key file and certificate in use, by setting, position (1 signs, others are only accepted) and fingerprint";
        secret_reloads: IntCounterVec["files", "result"] = "tidings_persistence_secret_reloads_total", "Changed files of secrets, keys and certificates, by files (token-keys, internal-secret or internal-tls) and result: good (in use) or failed (the old ones stay in use)";
        secret_reload_failing: IntGaugeVec["files"] = "tidings_persistence_secret_reload_failing", "1 while changed files of secrets, keys or certificates cannot be used, else 0, by files";
        spans_lost: IntCounterVec["cause"] = "tidings_persistence_spans_lost_total", "Spans that were lost, by cause: full (too many waited) or away (the collector did not take them)";
        build: IntGaugeVec["version", "commit"] = "tidings_persistence_build_info", "1, with version and commit of the program";
    }
}

impl Metrics {
    /// Creates the series of all counters whose label values are known in advance, with the value 0. Without an earlier
    /// value, `rate` and `increase` do not see the first event of a series. `answers` are the routes and statuses of
    /// the HTTP interface. The causes of `database_failures` are created by the task that watches for outages.
    pub fn create_series(&self, answers: impl IntoIterator<Item = (String, String)>) {
        for cause in ["data", "stuck", "taken", "lost", "locked", "away"] {
            self.retries.with_label_values(&[cause]);
        }
        for change in ["taken", "released", "lost"] {
            self.lease_changes.with_label_values(&[change]);
        }
        for result in ["good", "failed"] {
            self.key_fetches.with_label_values(&[result]);
        }
        for (route, status) in answers {
            self.http_seconds.with_label_values(&[&route]);
            self.http_requests.with_label_values(&[&route, &status]);
        }
    }

    /// Creates the counter of each shard: the records that were committed.
    pub fn create_series_of_shards(&self, map: &ShardMap) {
        for address in map.addresses() {
            self.records.with_label_values(&[&shard_label(Some(&address))]);
        }
    }

    /// The metrics in the text format of Prometheus. `ready` sets the readiness metric.
    #[must_use]
    pub fn export(&self, ready: bool) -> String {
        self.ready.set(i64::from(ready));
        tidings_shared::metrics::set_build_and_lost_spans(&self.build, &self.spans_lost);
        self.text()
    }
}
