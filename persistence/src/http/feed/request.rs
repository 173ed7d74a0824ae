//! Parses the parameters of a request for the feed. Pure.

use std::time::Duration;

use tidings_shared::events::{LOG_EVENTS, VOID};
use tidings_shared::limits::{DEFAULT_FEED_ENTRIES, MAX_FEED_ENTRIES, MAX_FEED_WAIT_MS};
use tidings_shared::log::keys::Partition;

use crate::http::parameters::Parameters;
use crate::http::problem::Problem;
use crate::query::feed::{FeedCursor, FeedFilter};

/// The cursor before all events.
const START: &str = "start";

/// A checked request.
#[derive(Debug)]
pub struct FeedRequest {
    /// None: after all events that are stored now.
    pub cursor: Option<FeedCursor>,
    /// The partitions of a request without a cursor.
    pub partitions: Vec<Partition>,
    pub filter: FeedFilter,
    pub limit: i64,
    pub wait: Duration,
}

impl FeedRequest {
    pub fn parse(parameters: &Parameters) -> Result<Self, Problem> {
        let wanted = parameters.text("partitions").map(partitions).transpose()?;
        let all = || Partition::all().collect::<Vec<_>>();
        let cursor = match parameters.text("cursor") {
            None => None,
            Some(START) => Some(FeedCursor::start(wanted.clone().unwrap_or_else(all).into_iter())),
            Some(text) => {
                let refuse =
                    || Problem::bad_field("cursor", "cursor must be a `cursor` of the feed, or `start`");
                let given = FeedCursor::parse(text).ok_or_else(refuse)?;
                let covered = wanted.clone().unwrap_or_else(|| given.partitions().collect());
                Some(given.only(covered.into_iter()).map_err(|partition| {
                    let rule = format!("the cursor does not cover partition {}", partition.0);
                    Problem::bad_field("partitions", rule)
                })?)
            }
        };
        let types: Vec<String> = parameters.texts("type").map(str::to_owned).collect();
        if let Some(unknown) = types.iter().find(|kind| *kind != VOID && !LOG_EVENTS.contains(&kind.as_str()))
        {
            return Err(Problem::bad_field("type", format!("there is no event type {unknown}")));
        }
        let wait_ms = parameters.number("wait_ms", 0..=MAX_FEED_WAIT_MS)?.unwrap_or(0);
        Ok(Self {
            cursor,
            partitions: wanted.unwrap_or_else(all),
            filter: FeedFilter { room: parameters.room("room")?, types },
            limit: parameters.number("limit", 1..=MAX_FEED_ENTRIES)?.unwrap_or(DEFAULT_FEED_ENTRIES),
            wait: Duration::from_millis(wait_ms.unsigned_abs()),
        })
    }
}

/// Parses `7` or `0-15`.
fn partitions(text: &str) -> Result<Vec<Partition>, Problem> {
    let refuse =
        || Problem::bad_field("partitions", "partitions must be a number from 0 to 63, or two as in 0-15");
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |digits: &str| {
        let all = Partition::all().map(|partition| partition.0);
        all.into_iter().find(|number| number.to_string() == digits).ok_or_else(refuse)
    };
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(refuse());
    }
    Ok((first..=last).map(Partition).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<FeedRequest, Problem> {
        FeedRequest::parse(&Parameters::parse(query).unwrap())
    }

    #[test]
    fn request_without_parameters_begins_now() {
        let request = parse("").unwrap();
        assert!(request.cursor.is_none() && request.filter.types.is_empty());
        assert_eq!((request.partitions.len(), request.limit, request.wait), (64, 200, Duration::ZERO));
        let bounded = parse("limit=99999&wait_ms=99999&cursor=start&partitions=2-4").unwrap();
        assert_eq!((bounded.limit, bounded.wait), (1000, Duration::from_secs(10)));
        assert_eq!(bounded.cursor.unwrap().to_string(), "1_2.0.0_3.0.0_4.0.0");
    }

    #[test]
    fn partitions_select_a_part_of_the_cursor() {
        let cursor = |query| parse(query).unwrap().cursor.unwrap().to_string();
        assert_eq!(cursor("cursor=1_2.a.0_3.b.1"), "1_2.a.0_3.b.1");
        assert_eq!(cursor("cursor=1_2.a.0_3.b.1&partitions=3"), "1_3.b.1");
    }

    #[test]
    fn bad_parameters_are_refused() {
        for bad in [
            "cursor=x",
            "cursor=1_2.a.0&partitions=2-3",
            "partitions=64",
            "partitions=3-2",
            "partitions=-1",
            "partitions=01",
            "type=message",
            "limit=0",
            "limit=x",
            "wait_ms=-1",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
