//! The HTTP requests of a listener: the first page, and the pages of a gap.
//! Touches persistence nodes. It passes results to the engine and makes no decisions.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{Nodes, TOKEN_TTL_S};
use crate::http::{Answer, EventsPage, Http, MessagesPage};
use crate::recorder::Fill;
use crate::token::Token;

const PAGE: u32 = 200;
pub(super) const RETRY: Duration = Duration::from_millis(200);

/// The result of a request.
pub(super) enum Fetched {
    Page(EventsPage),
    Loaded(MessagesPage),
    /// The epoch is not valid any more: join again.
    Stale,
    /// Ask again after this.
    Later(Duration),
    /// The node reports an internal error; ask again.
    Unsound(String),
    /// A final error.
    Failed(String),
}

/// Index of the node to ask; incremented after a node did not answer.
static NODE: AtomicUsize = AtomicUsize::new(0);

fn http(nodes: &Nodes, user: &str) -> Http {
    let node = NODE.load(Ordering::Relaxed) % nodes.persistence.len().max(1);
    let base = nodes.persistence.get(node).map(String::as_str).unwrap_or_default();
    Http::sharing(nodes.http.clone(), base, &Token::of(user).ttl_s(TOKEN_TTL_S).sign(&nodes.jwt_secret))
}

/// One page of a gap.
pub(super) async fn events(nodes: &Nodes, user: &str, room: &str, fill: &Fill) -> Fetched {
    let epoch = crate::http::encode(&fill.epoch);
    let query = format!("after={}&epoch={epoch}&upto={}&limit={PAGE}", fill.after, fill.upto);
    let answer = http(nodes, user).events(room, &query).await;
    read(answer, |answer| answer.parse().map(Fetched::Page))
}

/// The latest page of history.
pub(super) async fn latest(nodes: &Nodes, user: &str, room: &str) -> Fetched {
    let answer = http(nodes, user).messages(room, "limit=50").await;
    read(answer, |answer| answer.parse().map(Fetched::Loaded))
}

fn read(
    answer: Result<Answer, reqwest::Error>,
    parse: impl FnOnce(&Answer) -> anyhow::Result<Fetched>,
) -> Fetched {
    match answer {
        Err(_) => {
            NODE.fetch_add(1, Ordering::Relaxed);
            Fetched::Later(RETRY)
        }
        Ok(answer) if answer.is_unsound() => Fetched::Unsound(format!("{}: {}", answer.status, answer.body)),
        Ok(answer) => match answer.status {
            200 => parse(&answer).unwrap_or_else(|error| Fetched::Failed(error.to_string())),
            409 => Fetched::Stale,
            // 408: the server closed an idle pooled connection just as we used it; it asks for a retry.
            408 | 429 | 503 => {
                let told = answer.body["retry_after_ms"].as_u64();
                Fetched::Later(told.map_or(RETRY, Duration::from_millis))
            }
            status => Fetched::Failed(format!("{status}: {}", answer.body)),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_as(status: u16) -> Fetched {
        let answer = Answer { status, body: json!({}), content_type: String::new(), closes: false };
        read(Ok(answer), |_| Ok(Fetched::Stale))
    }

    #[test]
    fn internal_error_is_distinguished_from_a_retry() {
        for status in [500, 502] {
            assert!(matches!(read_as(status), Fetched::Unsound(_)), "{status}");
        }
        for status in [408, 429, 503] {
            assert!(matches!(read_as(status), Fetched::Later(_)), "{status}");
        }
    }
}
