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
        bytes_in: IntGauge = "tidings_gateway_received_bytes", "Bytes received after handshakes since the start";
        bytes_out: IntGauge = "tidings_gateway_sent_bytes", "Bytes sent since the start";
        frames_out: IntGauge = "tidings_gateway_frames_sent", "Frames queued to connections since the start";
        outbox_bytes: IntGauge = "tidings_gateway_outbox_bytes", "Bytes queued in outboxes now";
        append_seconds: Histogram(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5) = "tidings_gateway_append_seconds", "Time from a command to its place in the room's log";
        stored_seconds: Histogram(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0) = "tidings_gateway_stored_seconds", "Time from a command's place in the log to its stored answer";
        hints: IntCounter = "tidings_gateway_hints_total", "Records received by pub/sub";
        hints_dropped: IntCounter = "tidings_gateway_hints_dropped_total", "Records that a worker's full queue did not take; its rooms were refilled";
        holes: IntCounter = "tidings_gateway_holes_total", "Holes found in a room's sequence";
        refills: IntCounterVec["source"] = "tidings_gateway_refills_total", "Rooms brought up to the head, by source: tail, or history when a gap was told";
        replays: IntCounterVec["source"] = "tidings_gateway_replays_total", "Joins brought up to the head, by source: memory, tail or history";
        rooms: IntGauge = "tidings_gateway_rooms", "Rooms with a joined connection, counted per worker";
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
        for (code, count) in &totals.closes {
            self.closes.with_label_values(&[&code.to_string()]).set(gauge(*count));
        }
        self.text()
    }
}
