//! The orders in JSON: `{"id": 1, "do": "kill", "of": "gateway", "number": 0}`. Pure.

use serde::Deserialize;

/// The target of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum StackPart {
    Gateway,
    Persistence,
    Redis,
    Postgres,
    /// The files service, if there is one.
    Files,
}

/// The service of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum NodeKind {
    Gateway,
    Persistence,
}

/// The fault of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LinkOrder {
    /// All connections are closed.
    Cut,
    /// All connections end with RST.
    Reset,
    /// The server's side is closed, the client's side stays open.
    HalfOpen,
    /// No bytes pass until `heal`.
    BlackHole,
    /// Open and new connections are closed until `heal`.
    Refuse,
    /// Bytes are delayed by this time until `heal`.
    Delay,
    /// Removes the fault.
    Heal,
}

/// An order. Nodes are counted from 0.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(super) enum Order {
    /// Sends SIGKILL.
    Kill {
        of: StackPart,
        #[serde(default)]
        number: usize,
    },
    /// Sends SIGSTOP.
    Pause {
        of: StackPart,
        #[serde(default)]
        number: usize,
    },
    /// Sends SIGCONT.
    Resume {
        of: StackPart,
        #[serde(default)]
        number: usize,
    },
    /// Sends SIGTERM. The answer comes when the process has ended.
    Drain {
        of: StackPart,
        #[serde(default)]
        number: usize,
    },
    /// Starts the part on its old ports. If it still runs, it is stopped first. The answer comes when it is ready.
    Start {
        of: StackPart,
        #[serde(default)]
        number: usize,
    },
    /// Kills Redis and starts it without any data.
    EmptyRedis,
    /// Sets or removes a fault of the connections between clients and one node.
    Link {
        to: NodeKind,
        #[serde(default)]
        number: usize,
        weather: LinkOrder,
        #[serde(default)]
        delay_ms: u64,
    },
    /// Runs statements in PostgreSQL. The answer has `rows` of text.
    Sql { query: String },
    /// Runs a command in Redis. The answer has its `value`.
    Redis { command: Vec<String> },
    /// Reads the metrics of a node. The answer has the `text`.
    Metrics {
        of: NodeKind,
        #[serde(default)]
        number: usize,
    },
    /// Reads the log of a node. The answer has the `text`.
    Log {
        of: NodeKind,
        #[serde(default)]
        number: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_parsed_by_their_action() {
        let read = |text: &str| serde_json::from_str::<Order>(text);
        let kill = read(r#"{"id":7,"do":"kill","of":"gateway","number":1}"#).unwrap();
        assert_eq!(kill, Order::Kill { of: StackPart::Gateway, number: 1 });
        let link = read(r#"{"do":"link","to":"gateway","weather":"delay","delay_ms":20}"#).unwrap();
        let delay = Order::Link { to: NodeKind::Gateway, number: 0, weather: LinkOrder::Delay, delay_ms: 20 };
        assert_eq!(link, delay);
        assert!(read(r#"{"do":"explode","of":"gateway"}"#).is_err());
    }
}
