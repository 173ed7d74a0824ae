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
}

/// The service whose client links are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum To {
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
    /// SIGKILL.
    Kill {
        of: StackPart,
        #[serde(default)]
        number: usize,
    },
    /// SIGSTOP.
    Pause {
        of: StackPart,
        #[serde(default)]
        number: usize,
    },
    /// SIGCONT.
    Resume {
        of: StackPart,
        #[serde(default)]
        number: usize,
    },
    /// SIGTERM; answered when the process has ended.
    Drain {
        of: StackPart,
        #[serde(default)]
        number: usize,
    },
    /// Starts it on its old port, after draining it if it runs; answered when it is ready.
    Start {
        of: StackPart,
        #[serde(default)]
        number: usize,
    },
    /// Redis, killed and started without any data.
    EmptyRedis,
    /// The connections of clients to one node.
    Link {
        to: To,
        #[serde(default)]
        number: usize,
        weather: LinkOrder,
        #[serde(default)]
        delay_ms: u64,
    },
    /// Statements for PostgreSQL: `rows` of text.
    Sql { query: String },
    /// A command for Redis: its `value`.
    Redis { command: Vec<String> },
    /// A node's metrics page: its `text`.
    Metrics {
        of: To,
        #[serde(default)]
        number: usize,
    },
    /// All that a node has logged: its `text`.
    Log {
        of: To,
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
        let delay = Order::Link { to: To::Gateway, number: 0, weather: LinkOrder::Delay, delay_ms: 20 };
        assert_eq!(link, delay);
        assert!(read(r#"{"do":"explode","of":"gateway"}"#).is_err());
    }
}
