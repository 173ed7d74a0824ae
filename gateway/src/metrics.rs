//! What the gateway counts: the one list of its metrics. No label grows with users or rooms.

use std::sync::Arc;

use crate::transport::Counters;

tidings_shared::metrics! {
    /// The gateway's metrics.
    pub struct Metrics {
        connections: IntGauge = "tidings_gateway_connections", "Open WebSocket connections";
        opened: IntGauge = "tidings_gateway_connections_opened", "WebSocket connections opened since the start";
        handshakes: IntCounterVec["result"] = "tidings_gateway_handshakes_total", "Handshakes by result: accepted, or the code of the refusal";
        closes: IntGaugeVec["code"] = "tidings_gateway_closes", "Connections closed since the start, by close code";
        frames: IntCounterVec["type"] = "tidings_gateway_frames_total", "Client frames by type";
        errors: IntCounterVec["code"] = "tidings_gateway_errors_total", "Errors told to clients, by code";
        limited: IntCounterVec["limit"] = "tidings_gateway_limited_total", "Commands over a user's limit, by limit";
        bytes_in: IntGauge = "tidings_gateway_received_bytes", "Bytes received after handshakes since the start";
        bytes_out: IntGauge = "tidings_gateway_sent_bytes", "Bytes sent since the start";
        frames_out: IntGauge = "tidings_gateway_frames_sent", "Frames queued to connections since the start";
        outbox_bytes: IntGauge = "tidings_gateway_outbox_bytes", "Bytes queued in outboxes now";
        compressed: IntGauge = "tidings_gateway_frames_compressed", "Frames compressed since the start, each once for all its receivers";
        compressed_out: IntGauge = "tidings_gateway_compressed_frames_sent", "Compressed frames queued to connections since the start";
        saved_bytes: IntGauge = "tidings_gateway_compression_saved_bytes", "Bytes by which compressed frames were shorter than plain ones, since the start";
        bombs: IntGauge = "tidings_gateway_bombs_refused", "Connections closed since the start over a message that was too big once inflated";
        frame_rate_holds: IntGauge = "tidings_gateway_frame_rate_holds", "Times since the start that a connection was not read for a while because it sent too many frames";
        frame_rate_closes: IntGauge = "tidings_gateway_frame_rate_closes", "Connections closed since the start because they sent too many frames for too long";
        drain_told: IntGauge = "tidings_gateway_drain_told", "Connections told when to leave because this node drains";
        drain_overstayed: IntGauge = "tidings_gateway_drain_overstayed", "Of them, those that were still there a little after, and are closed once all is answered";
        drain_cut: IntGauge = "tidings_gateway_drain_cut", "Connections closed because the drain time was up";
        append_seconds: Histogram(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5) = "tidings_gateway_append_seconds", "Time from a command to its place in the room's log";
        stored_seconds: Histogram(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0) = "tidings_gateway_stored_seconds", "Time from a command's place in the log to its stored answer";
        hints: IntCounter = "tidings_gateway_hints_total", "Records received by pub/sub";
        hints_dropped: IntCounter = "tidings_gateway_hints_dropped_total", "Records that a worker's full queue did not take; its rooms were refilled";
        holes: IntCounter = "tidings_gateway_holes_total", "Holes found in a room's sequence";
        refills: IntCounterVec["source"] = "tidings_gateway_refills_total", "Rooms brought up to the head, by source: tail, or history when a gap was told";
        replays: IntCounterVec["source"] = "tidings_gateway_replays_total", "Joins brought up to the head, by source: memory, tail or history";
        polls: IntCounterVec["result"] = "tidings_gateway_polls_total", "Long polls by result: answered, or the code of the refusal";
        key_fetches: IntCounterVec["result"] = "tidings_gateway_key_fetches_total", "Fetches of the keys that tokens are checked with, by result: good or failed";
        live: IntCounterVec["type"] = "tidings_gateway_live_total", "Live-only frames published, by type: typing or signal";
        presence_users: IntGauge = "tidings_gateway_presence_users", "Users with a connection to this node";
        presence_lives: IntCounter = "tidings_gateway_presence_lives_total", "Leases of presence begun: anew after Redis had lost one, or this node stood still";
        presence_told: IntCounter = "tidings_gateway_presence_told_total", "Changes of presence published by this node";
        presence_heard: IntCounter = "tidings_gateway_presence_heard_total", "Changes of presence received by pub/sub";
        presence_dropped: IntCounter = "tidings_gateway_presence_dropped_total", "Changes of presence that a worker was too busy for: its connections were not told";
        presence_reaped: IntCounter = "tidings_gateway_presence_reaped_total", "Users whom a node held that is gone, taken away by this one";
        presence_failures: IntCounterVec["step"] = "tidings_gateway_presence_failures_total", "What presence had to do without, by step: put, tell, sweep, rooms or read";
        rooms: IntGauge = "tidings_gateway_rooms", "Rooms with a joined connection, counted per worker";
        revoked: IntCounter = "tidings_gateway_revoked_total", "Subscriptions that ended because their users were removed from the room";
        user_channels: IntGauge = "tidings_gateway_user_channels", "Users with a connection here, each with a channel of their own";
        notices: IntCounterVec["kind"] = "tidings_gateway_notices_total", "Notices received on channels of users, by kind: frame, read, membership or account; dropped: a worker's queue was full, and the user was looked at again";
        resubscribed: IntCounter = "tidings_gateway_resubscribed_total", "Times that the pub/sub connection was made, the first included";
    }
}

impl Metrics {
    /// The Prometheus text, the transport's counters included.
    #[must_use]
    pub fn export(&self, counters: &Arc<Counters>) -> String {
        let totals = counters.totals();
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.connections.set(gauge(totals.connections));
        self.opened.set(gauge(totals.opened));
        self.bytes_in.set(gauge(totals.bytes_in));
        self.bytes_out.set(gauge(totals.bytes_out));
        self.frames_out.set(gauge(totals.messages_out));
        self.outbox_bytes.set(gauge(totals.outbox_bytes));
        self.compressed.set(gauge(totals.compressed));
        self.compressed_out.set(gauge(totals.compressed_out));
        self.saved_bytes.set(gauge(totals.saved_bytes));
        self.bombs.set(gauge(totals.bombs));
        self.frame_rate_holds.set(gauge(totals.frame_rate_holds));
        self.frame_rate_closes.set(gauge(totals.frame_rate_closes));
        self.drain_told.set(gauge(totals.drain_told));
        self.drain_overstayed.set(gauge(totals.drain_overstayed));
        self.drain_cut.set(gauge(totals.drain_cut));
        for (code, count) in &totals.closes {
            self.closes.with_label_values(&[&code.to_string()]).set(gauge(*count));
        }
        self.text()
    }
}
