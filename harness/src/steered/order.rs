//! The orders there are, as they come: `{"id": 1, "do": "kill", "of": "gateway", "number": 0}`. Pure.

use serde::Deserialize;

/// Whom an order is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Part {
    Gateway,
    Persistence,
    Redis,
    Postgres,
}

/// Whose clients a link is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum To {
    Gateway,
    Persistence,
}

/// What becomes of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Weather {
    /// All connections are closed.
    Cut,
    /// All are ended with RST.
    Reset,
    /// The server's side is gone, the client is told nothing.
    HalfOpen,
    /// Nothing comes through until it heals.
    BlackHole,
    /// All are closed, and new ones at once, until it heals.
    Refuse,
    /// All comes so much later, until it heals.
    Delay,
    /// Fair weather again.
    Heal,
}

/// What is to be done. Nodes are counted from 0.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(super) enum Order {
    /// SIGKILL.
    Kill {
        of: Part,
        #[serde(default)]
        number: usize,
    },
    /// SIGSTOP.
    Pause {
        of: Part,
        #[serde(default)]
        number: usize,
    },
    /// SIGCONT.
    Resume {
        of: Part,
        #[serde(default)]
        number: usize,
    },
    /// SIGTERM, answered once it has ended.
    Drain {
        of: Part,
        #[serde(default)]
        number: usize,
    },
    /// On its old port, answered once it is ready; drained first when it runs.
    Start {
        of: Part,
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
        weather: Weather,
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
    fn orders_are_read_by_what_is_to_be_done() {
        let read = |text: &str| serde_json::from_str::<Order>(text);
        let kill = read(r#"{"id":7,"do":"kill","of":"gateway","number":1}"#).unwrap();
        assert_eq!(kill, Order::Kill { of: Part::Gateway, number: 1 });
        let link = read(r#"{"do":"link","to":"gateway","weather":"delay","delay_ms":20}"#).unwrap();
        let delay = Order::Link { to: To::Gateway, number: 0, weather: Weather::Delay, delay_ms: 20 };
        assert_eq!(link, delay);
        assert!(read(r#"{"do":"explode","of":"gateway"}"#).is_err());
    }
}
