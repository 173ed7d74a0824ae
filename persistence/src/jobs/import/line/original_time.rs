//! A time of another system: RFC 3339 text, or a number of milliseconds since 1970.

use chrono::DateTime;
use serde::Deserialize;

use crate::jobs::import::refusal::{LineRefusal, RefusalCode};

/// A smaller number is refused, because it is most likely in seconds: in milliseconds it would be a time from 1970 to
/// March 1973.
const MIN_MS: i64 = 100_000_000_000;

/// A time as the line has it.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum OriginalTime {
    Text(String),
    Ms(i64),
}

impl OriginalTime {
    /// The time in ms since 1970. Refuses another form, a number of seconds, a time before 1970, and a time after
    /// `latest_ms`, which is in the future. `field` is the name of the field in the reason.
    pub fn checked_ms(&self, field: &str, latest_ms: i64) -> Result<i64, LineRefusal> {
        let bad_time = |rule: &str| LineRefusal::new(RefusalCode::BadTime, format!("{field} {rule}"));
        let at_ms = match self {
            Self::Ms(0..MIN_MS) => {
                return Err(bad_time("is before March 1973; a number must be in milliseconds"));
            }
            Self::Ms(at_ms) => *at_ms,
            Self::Text(text) => DateTime::parse_from_rfc3339(text)
                .map_err(|_| bad_time("is not a time such as 2019-05-06T07:08:09Z"))?
                .timestamp_millis(),
        };
        if at_ms < 0 {
            return Err(bad_time("is before 1970"));
        }
        if at_ms > latest_ms {
            return Err(bad_time("is in the future"));
        }
        Ok(at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_text_or_milliseconds() {
        let ms = |json: &str| {
            let time: OriginalTime = serde_json::from_str(json).unwrap();
            time.checked_ms("at", 1_600_000_000_000).map_err(|refusal| refusal.to_string())
        };
        assert_eq!(ms("1514764800123"), Ok(1_514_764_800_123));
        assert_eq!(ms(r#""2018-01-01T01:00:00.1239+01:00""#), Ok(1_514_764_800_123));
        assert_eq!(ms(r#""1972-01-01T00:00:00Z""#), Ok(63_072_000_000), "a text is never in seconds");
        for (json, reason) in [
            (r#""2018-01-01""#, "bad_time: at is not a time"),
            (r#""1969-12-31T23:59:59Z""#, "bad_time: at is before 1970"),
            ("-1", "bad_time: at is before 1970"),
            ("1514764800", "bad_time: at is before March 1973; a number must be in milliseconds"),
            ("63072000000", "bad_time: at is before March 1973"),
            ("1600000000001", "bad_time: at is in the future"),
        ] {
            assert!(ms(json).unwrap_err().starts_with(reason), "{json}");
        }
    }
}
