//! What the gateway counts: the one list of its metrics. No label grows with users or rooms.

mod hot;

use tidings_shared::prometheus::IntCounter;

use crate::transport::Counters;
pub use hot::{Hot, redis_timings};

tidings_shared::metrics! {
    /// The gateway's metrics.
    pub struct Metrics {
        connections: IntGauge = "tidings_gateway_connections", "Open WebSocket connections";
        opened: IntCounter = "tidings_gateway_connections_opened_total", "WebSocket connections opened";
        handshakes: IntCounterVec["result"] = "tidings_gateway_handshakes_total", "Handshakes by result: accepted, switched_off where there are no WebSockets, or the code of the refusal";
        auths: IntCounterVec["result"] = "tidings_gateway_auths_total", "Answers to connections without a token in the handshake until they are let in, by result: accepted, or the code of the refusal";
        ready: IntGauge = "tidings_gateway_ready", "1 while this node would serve, as /readyz says, else 0";
        closes: IntCounterVec["code"] = "tidings_gateway_closes_total", "Connections closed, by close code";
        frames: IntCounterVec["type"] = "tidings_gateway_frames_total", "Client frames by type";
        errors: IntCounterVec["code"] = "tidings_gateway_errors_total", "Errors told to clients, by code";
        command_seconds: HistogramVec["type"](0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0) = "tidings_gateway_command_seconds", "Time from a frame to its answer, or to its end where none is asked for, seconds, by type";
        sends: IntCounterVec["result"] = "tidings_gateway_sends_total", "Answers to message:send that could be read, by result: accepted (or stored), duplicate, too_many (of the connection wait), or the code of the error; unavailable, overloaded and internal are the server's fault";
        limited: IntCounterVec["limit"] = "tidings_gateway_limited_total", "Commands over a user's limit, by limit";
        bytes_in: IntCounter = "tidings_gateway_received_bytes_total", "Bytes received after handshakes";
        bytes_out: IntCounter = "tidings_gateway_sent_bytes_total", "Bytes sent";
        frames_out: IntCounter = "tidings_gateway_frames_sent_total", "Frames queued to connections";
        outbox_bytes: IntGauge = "tidings_gateway_outbox_bytes", "Bytes queued in outboxes now";
        compressed: IntCounter = "tidings_gateway_frames_compressed_total", "Frames compressed, each once for all its receivers";
        compressed_out: IntCounter = "tidings_gateway_compressed_frames_sent_total", "Compressed frames queued to connections";
        saved_bytes: IntCounter = "tidings_gateway_compression_saved_bytes_total", "Bytes by which compressed frames were shorter than plain ones";
        bombs: IntCounter = "tidings_gateway_bombs_refused_total", "Connections closed over a message that was too big once inflated";
        frame_rate_holds: IntCounter = "tidings_gateway_frame_rate_holds_total", "Times that a connection was not read for a while because it sent too many frames";
        frame_rate_closes: IntCounter = "tidings_gateway_frame_rate_closes_total", "Connections closed because they sent too many frames for too long";
        drain_told: IntCounter = "tidings_gateway_drain_told_total", "Connections told when to leave because this node drains";
        drain_overstayed: IntCounter = "tidings_gateway_drain_overstayed_total", "Of them, those that were still there a little after, and are closed once all is answered";
        drain_cut: IntCounter = "tidings_gateway_drain_cut_total", "Connections closed because the drain time was up";
        append_seconds: Histogram(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5) = "tidings_gateway_append_seconds", "Time from a command to its place in the room's log";
        stored_seconds: Histogram(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0) = "tidings_gateway_stored_seconds", "Time from a command's place in the log to its stored answer";
        deliver_seconds: Histogram(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0) = "tidings_gateway_deliver_seconds", "Time from a message's place in the log to the outboxes of this node, seconds, once per message, and once more when it came late, by a refill, to some worker; nothing where nobody was live";
        redis_seconds: HistogramVec["step"](0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0) = "tidings_gateway_redis_seconds", "Time of a round trip to Redis, seconds, by step: append, read, heads, mark, live, ping, subscribe, people or presence";
        pubsub_seconds: Histogram(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5) = "tidings_gateway_pubsub_seconds", "Time from a record's place in the log to its arrival at this node by pub/sub, seconds";
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
        spans_lost: IntCounterVec["cause"] = "tidings_gateway_spans_lost_total", "Spans that were lost, by cause: full, where too many waited, or away, where the collector did not take them";
        build: IntGaugeVec["version", "commit"] = "tidings_gateway_build_info", "1, with version and commit of the program";
        resident_memory: IntGauge = "process_resident_memory_bytes", "Resident memory of the process, bytes";
        cpu_seconds: Counter = "process_cpu_seconds_total", "CPU time of the process, user and system, seconds";
        open_fds: IntGauge = "process_open_fds", "Open file descriptors, sockets included";
        max_fds: IntGauge = "process_max_fds", "File descriptors that the process may open";
        start_time: Gauge = "process_start_time_seconds", "When the process started, seconds since the Unix epoch";
    }
}

impl Metrics {
    /// The Prometheus text, the transport's counters and the process's own figures included. The operators' listener,
    /// which has one thread, asks: counters are raised by what was added since the last time.
    #[must_use]
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
            (&self.bombs, totals.bombs),
            (&self.frame_rate_holds, totals.frame_rate_holds),
            (&self.frame_rate_closes, totals.frame_rate_closes),
            (&self.drain_told, totals.drain_told),
            (&self.drain_overstayed, totals.drain_overstayed),
            (&self.drain_cut, totals.drain_cut),
        ] {
            raise(counter, total);
        }
        for (code, total) in &totals.closes {
            raise(&self.closes.with_label_values(&[&code.to_string()]), *total);
        }
        tidings_shared::tell_process!(self);
        self.text()
    }
}

/// Raises a counter to a total that never falls.
fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}
