//! A consumer of `GET /v1/feed`: reads pages by its cursor, and remembers what it got of each room. It accepts repeated
//! events, and records each event that does not follow on the events before it.
//! Touches only the network.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::Http;

/// An answer of the feed.
#[derive(Debug, Clone, Deserialize)]
pub struct FeedPage {
    /// The entries, each with `partition`, and with `event` or `gap`.
    pub entries: Vec<Value>,
    /// The cursor after this page.
    pub cursor: String,
    /// Whether more events may be stored.
    pub more: bool,
    /// Milliseconds since the next event after this page was stored.
    pub lag_ms: u64,
}

impl FeedPage {
    /// The room and the seq of each event, in the order of the page.
    pub fn positions(&self) -> Vec<(String, u64)> {
        let event = |entry: &Value| {
            let event = entry.get("event")?;
            Some((event["room"].as_str()?.to_owned(), event["seq"].as_u64()?))
        };
        self.entries.iter().filter_map(event).collect()
    }
}

/// Reads one page. `query` is the query string.
///
/// # Errors
/// When there is no answer, or another one than a page.
pub async fn read_page(http: &Http, query: &str) -> Result<FeedPage> {
    http.get(&format!("/feed?{query}")).await?.parse()
}

/// A consumer with its cursor.
#[derive(Debug)]
pub struct FeedConsumer {
    /// The parameters of each request, except the cursor.
    parameters: String,
    cursor: String,
    /// The events of each room, by seq.
    pub rooms: BTreeMap<String, BTreeMap<u64, Value>>,
    /// Events that did not follow on the events of their room that had come before them, in words; also gaps.
    pub misplaced: Vec<String>,
}

impl FeedConsumer {
    /// A consumer that begins with the oldest event. `parameters` are those of each request, such as `partitions=0-15`.
    pub fn from_start(parameters: &str) -> FeedConsumer {
        FeedConsumer {
            parameters: parameters.to_owned(),
            cursor: "start".to_owned(),
            rooms: BTreeMap::new(),
            misplaced: Vec::new(),
        }
    }

    /// Reads a page at a node. The cursor moves only if `keeps_cursor` is false, as in a consumer that stopped before it
    /// could store the new cursor. Returns whether more events may be stored.
    ///
    /// # Errors
    /// When there is no answer, or another one than a page.
    pub async fn read(&mut self, http: &Http, wait_ms: u64, keeps_cursor: bool) -> Result<bool> {
        let query = format!("cursor={}&wait_ms={wait_ms}&{}", self.cursor, self.parameters);
        let page = read_page(http, &query).await?;
        for entry in &page.entries {
            self.record(entry).with_context(|| format!("an entry of another form: {entry}"))?;
        }
        if !keeps_cursor {
            self.cursor = page.cursor;
        }
        Ok(page.more || keeps_cursor || !page.entries.is_empty())
    }

    /// Reads until everything that is stored has been read.
    ///
    /// # Errors
    /// As [`FeedConsumer::read`].
    pub async fn read_all(&mut self, http: &Http) -> Result<()> {
        while self.read(http, 0, false).await? {}
        Ok(())
    }

    fn record(&mut self, entry: &Value) -> Option<()> {
        let Some(event) = entry.get("event") else {
            self.misplaced.push(format!("a gap: {entry}"));
            return Some(());
        };
        let (room, seq) = (event["room"].as_str()?, event["seq"].as_u64()?);
        let log = self.rooms.entry(room.to_owned()).or_default();
        let last = log.last_key_value().map_or(0, |(seq, _)| *seq);
        if seq > last + 1 {
            self.misplaced.push(format!("{room}: {seq} came after {last}"));
        } else if seq <= last && !log.contains_key(&seq) {
            self.misplaced.push(format!("{room}: {seq} came late, after {last}"));
        }
        log.insert(seq, event.clone());
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn late_event_is_misplaced_and_repeated_ones_are_not() {
        let mut consumer = FeedConsumer::from_start("");
        for seq in [1, 2, 1, 2, 5, 4, 4] {
            let entry = json!({ "partition": 0, "event": { "room": "r", "seq": seq } });
            consumer.record(&entry).unwrap();
        }
        assert_eq!(consumer.misplaced, ["r: 5 came after 2", "r: 4 came late, after 5"]);
    }
}
