//! `/feed`: the events of all rooms, for other servers. A request without new events waits for them. Only tokens with
//! the scope `tidings.feed` may read it, because it shows private messages too.

mod request;

use std::time::Duration;

use actix_web::{HttpRequest, web};
use tidings_shared::error::ErrorCode;
use tidings_shared::openapi::{FeedLimitForm, FeedWaitForm, ListCursorForm, PartitionsForm, RoomFilterForm};
use tidings_shared::prometheus::IntGauge;
use tokio::time::Instant;

use super::caller::Caller;
use super::parameters::Parameters;
use super::problem::Problem;
use super::state::State;
use crate::metrics::Metrics;
use crate::query::feed::{FeedPage, is_on, page, stored_end};
use request::FeedRequest;

/// A request that leaves out all events that it reads reads further pages for at most this long.
const FILTER_TIMEOUT: Duration = Duration::from_secs(2);

/// The events of all rooms after a cursor, at least once and in the order of each room. Needs the scope `tidings.feed`.
/// Without a cursor the feed begins with the events that are stored after the request; with `start` it begins with the
/// oldest.
#[utoipa::path(
    get, path = "/v1/feed", operation_id = "readFeed", tag = "feed",
    params(
        ("cursor" = Option<ListCursorForm>, Query, description = "`cursor` of the page before, or `start`"),
        ("partitions" = Option<PartitionsForm>, Query, description = "All that the cursor covers if omitted"),
        ("limit" = Option<FeedLimitForm>, Query),
        ("wait_ms" = Option<FeedWaitForm>, Query, description = "How long to wait for an event; 0 if omitted"),
        ("room" = Option<RoomFilterForm>, Query, description = "Events of this room only"),
        ("type" = Option<Vec<String>>, Query, description = "Events of these types only; may be repeated"),
    ),
    responses(
        (status = 200, description = "A page, which may be empty", body = FeedPage),
        (status = 404, description = "The feed is off"),
        (status = 429, description = "Too many requests for the feed at the same time"),
    )
)]
pub async fn read(
    state: web::Data<State>,
    metrics: Option<web::Data<Metrics>>,
    caller: Caller,
    request: HttpRequest,
) -> Result<web::Json<FeedPage>, Problem> {
    if !caller.feed {
        return Err(Problem::new(ErrorCode::Forbidden, "the token needs the scope tidings.feed"));
    }
    let request = FeedRequest::parse(&Parameters::from_request(&request)?)?;
    let _slot = state.feed_slots.acquire(&caller.user, "requests for the feed")?;
    if !is_on(&state.db).await? {
        return Err(Problem::new(
            ErrorCode::NotFound,
            "the feed is off; an operator turns it on with `migrate feed on`",
        ));
    }
    let _waiting = metrics.as_ref().map(|metrics| Waiting::new(metrics));
    let page = first_page(&state, &caller, request).await?;
    if let Some(metrics) = &metrics {
        metrics.feed_entries.inc_by(page.entries.len() as u64);
        #[allow(clippy::cast_precision_loss, reason = "a metric")]
        metrics.feed_lag_seconds.observe(page.lag_ms as f64 / 1000.0);
    }
    Ok(web::Json(page))
}

/// The next page with entries, or the last empty page when the time is over.
async fn first_page(state: &State, caller: &Caller, request: FeedRequest) -> Result<FeedPage, Problem> {
    let deadline = Instant::now() + request.wait;
    let filtering_until = Instant::now() + FILTER_TIMEOUT;
    let mut cursor = match request.cursor {
        Some(cursor) => cursor,
        None => stored_end(&state.db, request.partitions.into_iter()).await?,
    };
    loop {
        let found = {
            let _reading = state.admit_feed_read(&caller.user).await?;
            page(&state.db, cursor.clone(), &request.filter, request.limit).await?
        };
        cursor = found.cursor.clone();
        let now = Instant::now();
        let is_over = if found.more { now >= filtering_until.max(deadline) } else { now >= deadline };
        if !found.entries.is_empty() || is_over {
            return Ok(found);
        }
        if !found.more {
            state.feed_watch.wait_after(&cursor, deadline).await;
        }
    }
}

/// Counts a request in the gauge, until it is dropped.
struct Waiting(IntGauge);

impl Waiting {
    fn new(metrics: &Metrics) -> Self {
        metrics.feed_requests.inc();
        Self(metrics.feed_requests.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.dec();
    }
}
