//! The HTTP requests of a listener: the latest page of history, and the pages that fill a gap. The engine decides what
//! follows from a result.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{Nodes, TOKEN_TTL_S};
use crate::http::{Answer, EventsPage, Http, MessagesPage};
use crate::recorder::Fill;
use crate::token::Token;

const PAGE_LIMIT: u32 = 200;
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// The result of a request.
pub(super) enum FetchResult {
    Page(EventsPage),
    Loaded(MessagesPage),
    /// The epoch is not valid any more. The listener must join again.
    Stale,
    /// The request must be repeated after this time.
    RetryAfter(Duration),
    /// The node reported an internal error. The request must be repeated.
    InternalError(String),
    /// The request failed finally.
    Failed(String),
}

/// Index of the node to ask. After a node did not answer, all listeners of this process ask the next one.
static NEXT_NODE: AtomicUsize = AtomicUsize::new(0);

fn http_client(nodes: &Nodes, user: &str) -> Http {
    let node = NEXT_NODE.load(Ordering::Relaxed) % nodes.persistence.len().max(1);
    let base = nodes.persistence.get(node).map(String::as_str).unwrap_or_default();
    Http::sharing(nodes.http.clone(), base, &Token::of(user).ttl_s(TOKEN_TTL_S).sign(&nodes.jwt_secret))
}

/// Requests one page of the log, to fill a gap.
pub(super) async fn fetch_events(nodes: &Nodes, user: &str, room: &str, fill: &Fill) -> FetchResult {
    let epoch = crate::http::encode(&fill.epoch);
    let query = format!("after={}&epoch={epoch}&upto={}&limit={PAGE_LIMIT}", fill.after, fill.upto);
    let answer = http_client(nodes, user).events(room, &query).await;
    classify_response(answer, |answer| answer.parse().map(FetchResult::Page))
}

/// Requests the latest page of history.
pub(super) async fn fetch_latest_page(nodes: &Nodes, user: &str, room: &str) -> FetchResult {
    let answer = http_client(nodes, user).messages(room, "limit=50").await;
    classify_response(answer, |answer| answer.parse().map(FetchResult::Loaded))
}

fn classify_response(
    answer: Result<Answer, reqwest::Error>,
    parse: impl FnOnce(&Answer) -> anyhow::Result<FetchResult>,
) -> FetchResult {
    match answer {
        Err(_) => {
            NEXT_NODE.fetch_add(1, Ordering::Relaxed);
            FetchResult::RetryAfter(RETRY_PAUSE)
        }
        Ok(answer) if answer.is_internal_error() => {
            FetchResult::InternalError(format!("{}: {}", answer.status, answer.body))
        }
        Ok(answer) => match answer.status {
            200 => parse(&answer).unwrap_or_else(|error| FetchResult::Failed(error.to_string())),
            409 => FetchResult::Stale,
            // A 408 is retried: the server closed an idle pooled connection while the request was sent on it.
            408 | 429 | 503 => {
                let retry_after_ms = answer.body["retry_after_ms"].as_u64();
                FetchResult::RetryAfter(retry_after_ms.map_or(RETRY_PAUSE, Duration::from_millis))
            }
            status => FetchResult::Failed(format!("{status}: {}", answer.body)),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn classify_status(status: u16) -> FetchResult {
        let answer = Answer { status, body: json!({}), content_type: String::new(), closes: false };
        classify_response(Ok(answer), |_| Ok(FetchResult::Stale))
    }

    #[test]
    fn internal_error_is_distinguished_from_a_retry() {
        for status in [500, 502] {
            assert!(matches!(classify_status(status), FetchResult::InternalError(_)), "{status}");
        }
        for status in [408, 429, 503] {
            assert!(matches!(classify_status(status), FetchResult::RetryAfter(_)), "{status}");
        }
    }
}
