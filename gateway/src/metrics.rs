//! All metrics of the gateway. The number of label values does not grow with users or rooms.

mod cached;
mod closed_labels;
mod shards;

use tidings_shared::prometheus::IntCounter;

use crate::transport::Counters;
pub use cached::{CachedCounters, redis_timing_recorder};
pub use closed_labels::create_series;
pub use shards::report_shards;

tidings_shared::metrics! {
    /// The gateway's metrics.
    pub struct Metrics {
        connections: IntGauge = "tidings_gateway_connections", "Open WebSocket connections";
        opened: IntCounter = "tidings_gateway_connections_opened_total", "WebSocket connections opened";
        opened_by_transport: IntCounterVec["transport"] = "tidings_gateway_sessions_opened_total", "Sessions opened, by transport: websocket, engine_polling or engine_websocket; a Socket.IO client that upgrades counts as engine_polling";
        socket_io_namespaces: IntGauge = "tidings_gateway_socket_io_namespaces", "Namespaces to which Socket.IO clients are connected or connecting, counted per connection";
        tunnels: IntGauge = "tidings_gateway_tunnels", "Open tunnels: Socket.IO WebSockets that this node forwards to the nodes of their sessions";
        forwarded: IntCounterVec["kind", "outcome"] = "tidings_gateway_forwarded_total", "Socket.IO requests that reached this node and belong to a session on another node, by kind (request or websocket) and outcome: forwarded, unknown (the other node has no address) or failed (it did not answer)";
        handshakes: IntCounterVec["result"] = "tidings_gateway_handshakes_total", "Handshakes by result: accepted, switched_off (this node serves no WebSockets), or the error code";
        auths: IntCounterVec["result"] = "tidings_gateway_auths_total", "Answers to connections that sent no token in the handshake and to CONNECT packets of Socket.IO, until they are authenticated, by result: accepted, or the error code";
        ready: IntGauge = "tidings_gateway_ready", "1 while this node is ready, as /readyz reports, else 0";
        closes: IntCounterVec["code"] = "tidings_gateway_closes_total", "Connections closed, by close code";
        frames: IntCounterVec["type"] = "tidings_gateway_frames_total", "Client frames by type";
        errors: IntCounterVec["code"] = "tidings_gateway_errors_total", "Errors sent to clients, by code";
        command_seconds: HistogramVec["type"](0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0) = "tidings_gateway_command_seconds", "Time from a command's frame to its answer, or to its end if the client wants no answer, seconds, by type";
        sends: IntCounterVec["result"] = "tidings_gateway_sends_total", "Answers to message:send commands that could be parsed, by result: accepted (or stored), duplicate, too_many (the connection has too many unanswered commands), or the error code; unavailable, overloaded and internal are faults of the server";
        limited: IntCounterVec["limit"] = "tidings_gateway_limited_total", "Commands that exceeded a rate limit of their user or room, by limit";
        bytes_in: IntCounter = "tidings_gateway_received_bytes_total", "Bytes received after handshakes";
        bytes_out: IntCounter = "tidings_gateway_sent_bytes_total", "Bytes sent";
        frames_out: IntCounter = "tidings_gateway_frames_sent_total", "Frames queued to connections";
        outbox_bytes: IntGauge = "tidings_gateway_outbox_bytes", "Bytes queued in outboxes now";
        compressed: IntCounter = "tidings_gateway_frames_compressed_total", "Frames compressed; a frame is compressed once for all its receivers";
        compressed_out: IntCounter = "tidings_gateway_compressed_frames_sent_total", "Compressed frames queued to connections";
        saved_bytes: IntCounter = "tidings_gateway_compression_saved_bytes_total", "Bytes saved by compressed frames";
        inflate_limit_closes: IntCounter = "tidings_gateway_inflate_limit_closes_total", "Connections closed because a message exceeded the size limit after inflating";
        frame_rate_holds: IntCounter = "tidings_gateway_frame_rate_holds_total", "Times that reading from a connection was paused because it sent too many frames";
        frame_rate_closes: IntCounter = "tidings_gateway_frame_rate_closes_total", "Connections closed because they sent too many frames for too long";
        drain_notified: IntCounter = "tidings_gateway_drain_notified_total", "Connections that were notified when to leave, because this node drains";
        drain_overstayed: IntCounter = "tidings_gateway_drain_overstayed_total", "Connections that did not leave in time; each is closed when all its commands are answered";
        drain_cut: IntCounter = "tidings_gateway_drain_cut_total", "Connections closed because the drain time ended";
        append_seconds: Histogram(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5) = "tidings_gateway_append_seconds", "Time from the start of a command to its append to the room's log, seconds";
        stored_seconds: Histogram(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0) = "tidings_gateway_stored_seconds", "Time from the start of a command to its stored answer, seconds";
        deliver_seconds: Histogram(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0) = "tidings_gateway_deliver_seconds", "Time from the append of a message to the outboxes of this node, seconds; counted once per message, and once more if a refill delivers it late; not counted if no subscription is live";
        redis_seconds: HistogramVec["step"](0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0) = "tidings_gateway_redis_seconds", "Time of a round trip to Redis, seconds, by step: append, read, heads, mark, live, ping, subscribe, people, presence or nodes";
        shard_partitions: IntGaugeVec["shard", "state"] = "tidings_gateway_shard_partitions", "Partitions of a shard, which is the address of a Redis master, by state: open (with a Redis session) or missing. The shard of partitions that no master owns is none";
        noreplicas: IntCounterVec["shard"] = "tidings_gateway_noreplicas_total", "Commands that Redis refused, because fewer replicas than min-replicas-to-write are connected, by shard; sends are answered unavailable";
        pubsub_seconds: Histogram(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5) = "tidings_gateway_pubsub_seconds", "Time from the append of a record to its arrival at this node by pub/sub, seconds";
        hints: IntCounter = "tidings_gateway_hints_total", "Records received by pub/sub";
        hints_dropped: IntCounter = "tidings_gateway_hints_dropped_total", "Records dropped because a worker's queue, or its queue of a busy room, was full; the rooms were refilled";
        holes: IntCounter = "tidings_gateway_holes_total", "Times that the hints of a room skipped a seq";
        refills: IntCounterVec["source"] = "tidings_gateway_refills_total", "Refills of live rooms, by source: tail, or history if a gap was sent to clients";
        replays: IntCounterVec["source"] = "tidings_gateway_replays_total", "Replays after joins, and of lagging subscriptions, by source: memory, tail or history";
        lagging: IntCounter = "tidings_gateway_lagging_total", "Live subscriptions that are replayed again, because too much was queued for their connection";
        polls: IntCounterVec["result"] = "tidings_gateway_polls_total", "Long polls by result: answered, or the error code";
        polls_continued: IntCounter = "tidings_gateway_polls_continued_total", "Long polls that continued the subscriptions of the last poll of their user on this node";
        key_fetches: IntCounterVec["result"] = "tidings_gateway_key_fetches_total", "Fetches of the keys that verify tokens, by result: good or failed";
        live: IntCounterVec["type"] = "tidings_gateway_live_total", "Live-only frames published, by type: typing or signal";
        presence_users: IntGauge = "tidings_gateway_presence_users", "Users with a connection to this node";
        node_leases_started: IntCounter = "tidings_gateway_presence_leases_total", "Presence leases started by this node; a new one is needed after Redis lost the lease or the node was paused";
        presence_published: IntCounter = "tidings_gateway_presence_told_total", "Presence changes published by this node";
        presence_received: IntCounter = "tidings_gateway_presence_heard_total", "Presence changes received by pub/sub";
        presence_dropped: IntCounter = "tidings_gateway_presence_dropped_total", "Presence changes dropped because a worker was too slow; its connections did not get them";
        presence_reaped: IntCounter = "tidings_gateway_presence_reaped_total", "Users of dead nodes whose presence this node removed";
        presence_failures: IntCounterVec["step"] = "tidings_gateway_presence_failures_total", "Failed steps of presence, by step: put, tell, sweep, rooms or read";
        rooms: IntGauge = "tidings_gateway_rooms", "Rooms with a joined connection, counted per worker";
        revoked: IntCounter = "tidings_gateway_revoked_total", "Subscriptions that ended because the user was removed from the room";
        user_channels: IntGauge = "tidings_gateway_user_channels", "User channels that this node is subscribed to: one per connected user";
        notices: IntCounterVec["kind"] = "tidings_gateway_notices_total", "Notices received on user channels, by kind: frame, read, activity, membership or account; dropped: a worker's queue was full, and the user was checked again";
        resubscribed: IntCounter = "tidings_gateway_resubscribed_total", "Times that the pub/sub connection was established, including the first";
        secrets_in_use: IntGaugeVec["setting", "position", "fingerprint"] = "tidings_gateway_secrets_in_use", "1 for each secret, key file and certificate in use, by setting, position (1 signs, others are only accepted) and fingerprint";
        secret_reloads: IntCounterVec["files", "result"] = "tidings_gateway_secret_reloads_total", "Changed files of secrets, keys and certificates, by files (token-keys, internal-secret or internal-tls) and result: good (in use) or failed (the old ones stay in use)";
        secret_reload_failing: IntGaugeVec["files"] = "tidings_gateway_secret_reload_failing", "1 while changed files of secrets, keys or certificates cannot be used, else 0, by files";
        spans_lost: IntCounterVec["cause"] = "tidings_gateway_spans_lost_total", "Spans that were lost, by cause: full (too many spans waited) or away (the collector did not accept them)";
        build: IntGaugeVec["version", "commit"] = "tidings_gateway_build_info", "1, with version and commit of the program";
    }
}

impl Metrics {
    /// The Prometheus text, with the transport's counters. Must not be called from two threads at once: each counter is
    /// raised by its difference to the transport's total, and two calls would add the difference twice.
    pub fn export(&self, counters: &Counters, ready: bool) -> String {
        self.ready.set(i64::from(ready));
        let totals = counters.totals();
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.connections.set(gauge(totals.connections));
        self.outbox_bytes.set(gauge(totals.outbox_bytes));
        for (counter, total) in [
            (&self.opened, totals.opened),
            (&self.bytes_in, totals.bytes_in),
            (&self.bytes_out, totals.bytes_out),
            (&self.frames_out, totals.messages_out),
            (&self.compressed, totals.compressed),
            (&self.compressed_out, totals.compressed_out),
            (&self.saved_bytes, totals.saved_bytes),
            (&self.inflate_limit_closes, totals.inflate_limit_closes),
            (&self.frame_rate_holds, totals.frame_rate_holds),
            (&self.frame_rate_closes, totals.frame_rate_closes),
            (&self.drain_notified, totals.drain_notified),
            (&self.drain_overstayed, totals.drain_overstayed),
            (&self.drain_cut, totals.drain_cut),
        ] {
            raise_to_total(counter, total);
        }
        self.tunnels.set(gauge(totals.engine_tunnels));
        for (kind, outcome, total) in [
            ("request", "forwarded", totals.forwarded_requests_answered),
            ("request", "unknown", totals.forwarded_requests_unknown),
            ("request", "failed", totals.forwarded_requests_failed),
            ("websocket", "forwarded", totals.forwarded_websockets_connected),
            ("websocket", "unknown", totals.forwarded_websockets_unknown),
            ("websocket", "failed", totals.forwarded_websockets_failed),
        ] {
            raise_to_total(&self.forwarded.with_label_values(&[kind, outcome]), total);
        }
        for (code, total) in &totals.closes {
            raise_to_total(&self.closes.with_label_values(&[&code.to_string()]), *total);
        }
        tidings_shared::metrics::set_build_and_lost_spans(&self.build, &self.spans_lost);
        self.text()
    }
}

/// Raises a counter to a total that never falls.
fn raise_to_total(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}
