//! The wall clock, and the form of times on the wire.

/// The present time, in milliseconds since the Unix epoch.
pub fn unix_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

/// Formats a time (milliseconds since the Unix epoch) as on the wire: RFC 3339 in UTC with milliseconds.
pub fn rfc3339(at_ms: i64) -> String {
    use chrono::{Datelike, Timelike};
    let at = chrono::DateTime::from_timestamp_millis(at_ms).unwrap_or_default();
    let Ok(year @ 0..=9999) = u32::try_from(at.year()) else {
        return at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    };
    // Formatting with chrono costs ten times as much, and each answer to a sender contains a time.
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let mut put = |place: usize, digits: usize, mut number: u32| {
        for digit in text[place..place + digits].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, at.month());
    put(8, 2, at.day());
    put(11, 2, at.hour());
    put(14, 2, at.minute());
    put(17, 2, at.second());
    put(20, 3, at.nanosecond() / 1_000_000 % 1000);
    text.iter().map(|byte| char::from(*byte)).collect()
}

/// The time of a text in the form of [`rfc3339`], in milliseconds since the Unix epoch.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    chrono::DateTime::parse_from_rfc3339(text).ok().map(|at| at.timestamp_millis())
}
