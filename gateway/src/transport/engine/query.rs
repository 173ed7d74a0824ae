//! The query of an Engine.IO request. Pure.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::error::EngineError;

/// Distinguishes the requests of a session: a hash of the parameter `t`, which clients choose anew for each request so
/// that nothing answers it from a cache. A request with the key of the previous one is a repetition. Browsers and HTTP
/// libraries repeat a request by themselves when a reused connection closes before the answer.
pub(crate) type RequestKey = Option<u64>;

/// Splits only at `&`, and decodes nothing. `deploy/haproxy/haproxy.cfg` finds a `sid` in the same way, so that its
/// limits count each request that opens a session.
fn value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')))
}

/// `None` if the client does not send `t`. Its repetitions are not recognized.
pub(crate) fn request_key(query: &str) -> RequestKey {
    value(query, "t").map(|time| {
        let mut hasher = DefaultHasher::new();
        time.hash(&mut hasher);
        hasher.finish()
    })
}

/// Checks the version and the transport, and returns the session id. A handshake has none.
pub(crate) fn session_of(query: &str, is_websocket: bool) -> Result<Option<&str>, EngineError> {
    let value = |name| value(query, name);
    let names_websocket = match value("transport") {
        Some("polling") => false,
        Some("websocket") => true,
        _ => return Err(EngineError::UnknownTransport),
    };
    if value("EIO") != Some("4") {
        return Err(EngineError::UnsupportedVersion);
    }
    if names_websocket != is_websocket {
        return Err(EngineError::BadRequest);
    }
    Ok(value("sid"))
}

/// The path and query of a request that is forwarded: only what the other node needs, without tokens.
pub(crate) fn forwarded_target(path: &str, query: &str) -> String {
    let is_needed = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        matches!(name, "EIO" | "transport" | "sid" | "t")
    };
    let pairs: Vec<&str> = query.split('&').filter(is_needed).collect();
    format!("{path}?{}", pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded_target_has_no_token() {
        let query = "token=secret&EIO=4&transport=polling&t=x1&sid=abc&app=1";
        assert_eq!(
            forwarded_target("/socket.io/", query),
            "/socket.io/?EIO=4&transport=polling&t=x1&sid=abc"
        );
    }

    #[test]
    fn only_equal_values_of_t_have_equal_keys() {
        assert_eq!(request_key("EIO=4&t=x1&sid=a"), request_key("t=x1"));
        assert_ne!(request_key("t=x1"), request_key("t=x2"));
        assert_eq!(request_key("EIO=4&transport=polling"), None);
    }

    #[test]
    fn query_is_checked_before_session_is_read() {
        let polling = |query| session_of(query, false);
        assert_eq!(polling("EIO=4&transport=polling"), Ok(None));
        assert_eq!(polling("transport=polling&sid=abc&EIO=4&t=x1"), Ok(Some("abc")));
        assert_eq!(polling("EIO=4&transport=polling&sid="), Ok(Some("")));
        assert_eq!(polling("EIO=4&transport=polling&sid=a&sid=b"), Ok(Some("a")));
        for other in ["a=b;sid=x", "%73id=x", "sid%3Dx", "SID=x", "sid", "a=sid=x"] {
            let query = format!("{other}&EIO=4&transport=polling");
            assert_eq!(session_of(&query, false), Ok(None), "{other}");
        }
        assert_eq!(polling(""), Err(EngineError::UnknownTransport));
        assert_eq!(polling("EIO=4&transport=abc"), Err(EngineError::UnknownTransport));
        assert_eq!(polling("EIO=4&transports=polling"), Err(EngineError::UnknownTransport));
        assert_eq!(polling("transport=polling"), Err(EngineError::UnsupportedVersion));
        assert_eq!(polling("EIO=3&transport=polling"), Err(EngineError::UnsupportedVersion));
        assert_eq!(polling("EIO=4&transport=websocket"), Err(EngineError::BadRequest));
        assert_eq!(session_of("EIO=4&transport=websocket", true), Ok(None));
        assert_eq!(session_of("EIO=4&transport=polling", true), Err(EngineError::BadRequest));
    }
}
