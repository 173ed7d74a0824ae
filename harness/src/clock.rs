//! Client ids that contain their creation time, from which the receiver of a message computes its latency. They are
//! UUIDv7 with the fraction of the millisecond in `rand_a` (RFC 9562, 6.2, method 3).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A fresh client id.
pub fn client_id() -> String {
    client_id_at(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// A client id of a client whose clock shows this time since 1970.
pub fn client_id_at(since_1970: Duration) -> String {
    let milliseconds = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
    let fraction = u16::try_from(u64::from(since_1970.subsec_nanos() % 1_000_000) * 4096 / 1_000_000);
    let mut random: [u8; 10] = rand::random();
    random[..2].copy_from_slice(&fraction.unwrap_or_default().to_be_bytes());
    uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid().to_string()
}

/// The time since 1970 at which [`client_id`] made this client id. Returns `None` for other client ids.
pub fn made_at(client_id: &str) -> Option<Duration> {
    let uuid = uuid::Uuid::try_parse(client_id).ok().filter(|uuid| uuid.get_version_num() == 7)?;
    let bits = uuid.as_u128();
    let milliseconds = u64::try_from(bits >> 80).ok()?;
    let fraction = u64::try_from((bits >> 64) & 0xfff).ok()?;
    Some(Duration::from_millis(milliseconds) + Duration::from_nanos(fraction * 1_000_000 / 4096))
}

/// Time since 1970 by this machine's clock.
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_id_contains_its_creation_time_to_a_microsecond() {
        let at = Duration::new(1_700_000_000, 123_456_789);
        let found = made_at(&client_id_at(at)).unwrap();
        assert!(at.abs_diff(found) < Duration::from_micros(1), "{found:?}");
        assert_eq!(made_at("hello"), None);
    }
}
