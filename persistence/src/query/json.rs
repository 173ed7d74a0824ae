//! Formats of values in answers: times, raw JSON, log positions. Pure.
//! JSON from clients is passed on byte for byte.

use std::ops::Deref;

use chrono::{DateTime, Utc};
use sea_orm::{ColIdx, DbErr, FromQueryResult, QueryResult, TryGetError, TryGetable};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use tidings_shared::protocol::server::rfc3339;

/// JSON text from the database that answers contain unchanged.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct RawJson(pub(super) Box<RawValue>);

impl RawJson {
    /// Wraps the JSON text of a column. Fails only for other text, which a column of type `json` cannot hold.
    pub fn new(text: String) -> Result<Self, DbErr> {
        let raw = RawValue::from_string(text).map(Self);
        raw.map_err(|error| DbErr::Custom(format!("stored JSON cannot be read: {error}")))
    }
}

impl Deref for RawJson {
    type Target = RawValue;

    fn deref(&self) -> &RawValue {
        &self.0
    }
}

impl TryGetable for RawJson {
    fn try_get_by<I: ColIdx>(row: &QueryResult, index: I) -> Result<Self, TryGetError> {
        Ok(Self::new(String::try_get_by(row, index)?)?)
    }
}

/// A time in RFC 3339, UTC, with milliseconds: the only format of times in answers.
#[must_use]
pub fn wire_time(at: &DateTime<Utc>) -> String {
    rfc3339(at.timestamp_millis())
}

/// Serialises a time as [`wire_time`] writes it, for `serialize_with`.
pub(crate) fn serialize_time<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&wire_time(at))
}

/// Serialises a time as [`wire_time`] writes it, or null, for `serialize_with`.
pub(crate) fn serialize_optional_time<S: Serializer>(
    at: &Option<DateTime<Utc>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serialize_time(at, serializer),
        None => serializer.serialize_none(),
    }
}

/// The last stored seq that an answer reflects, and the epoch in which this seq is valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, FromQueryResult, utoipa::ToSchema)]
pub struct Head {
    /// Opaque text that identifies one lifetime of the log's data.
    pub epoch: String,
    /// The seq in the room's log.
    #[schema(minimum = 0)]
    pub seq: i64,
}

impl Head {
    pub(super) fn new(epoch: i64, seq: i64) -> Self {
        Self { epoch: epoch.to_string(), seq }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_written_in_utc_with_milliseconds() {
        let at = DateTime::parse_from_rfc3339("2024-05-06T07:08:09.1239+02:00").unwrap().to_utc();
        assert_eq!(wire_time(&at), "2024-05-06T05:08:09.123Z");
        let whole = DateTime::parse_from_rfc3339("2024-05-06T07:08:09Z").unwrap().to_utc();
        assert_eq!(wire_time(&whole), "2024-05-06T07:08:09.000Z");
    }

    #[test]
    fn raw_json_keeps_order_numbers_and_spaces() {
        let text = r#"{"b": 1.0, "a":1e400,  "c":"\u0000"}"#;
        assert_eq!(serde_json::to_string(&RawJson::new(text.to_owned()).unwrap()).unwrap(), text);
    }
}
