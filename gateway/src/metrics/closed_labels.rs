//! Creates the series of all counters whose label values are known in advance, with the value 0. Without an earlier
//! value, `rate` and `increase` do not see the first event of a series. Counters of the hot paths have their series
//! through [`CachedCounters`](super::CachedCounters), and those of the shards through
//! [`report_shards`](super::report_shards).

use tidings_shared::{error::ErrorCode, prometheus::IntCounterVec, protocol::CloseCode};

use super::Metrics;
use crate::{
    limits::Limit,
    transport::{TransportKind, close_code},
};

/// The close codes of RFC 6455 and its registry. A peer may also choose a code from 4400 to 4499 that this server never
/// uses. Only such a code has no series before its first close.
const STANDARD_CLOSE_CODES: std::ops::RangeInclusive<u16> = 1000..=1015;
/// The code under which closes with an undefined code are counted.
const UNDEFINED_CLOSE_CODE: u16 = 0;

/// Creates the series of all closed sets of label values.
pub fn create_series(metrics: &Metrics) {
    create(&metrics.opened_by_transport, TransportKind::ALL.map(TransportKind::label));
    create(&metrics.handshakes, ["accepted", "switched_off", "unauthorized", "forbidden", "unavailable"]);
    create(&metrics.auths, ["accepted"]);
    create(&metrics.auths, ErrorCode::ALL.map(ErrorCode::as_str));
    create(&metrics.polls, ["answered"]);
    create(&metrics.polls, ErrorCode::ALL.map(ErrorCode::as_str));
    create(&metrics.limited, Limit::ALL.map(|(_, name)| name));
    create(&metrics.limited, ["room_bytes"]);
    create(&metrics.refills, ["tail", "history"]);
    create(&metrics.replays, ["memory", "tail", "history"]);
    create(&metrics.key_fetches, ["good", "failed"]);
    create(&metrics.live, ["typing", "signal"]);
    create(&metrics.presence_failures, ["put", "tell", "sweep", "rooms", "read"]);
    create(&metrics.notices, ["frame", "read", "activity", "membership", "account", "dropped"]);
    let session_codes = CloseCode::ALL.into_iter().map(CloseCode::code);
    for code in STANDARD_CLOSE_CODES.chain(session_codes).chain(close_code::ALL).chain([UNDEFINED_CLOSE_CODE])
    {
        metrics.closes.with_label_values(&[&code.to_string()]);
    }
}

fn create<'a>(counter: &IntCounterVec, values: impl IntoIterator<Item = &'a str>) {
    for value in values {
        counter.with_label_values(&[value]);
    }
}
