//! Which browser origins may talk to the services, over the WebSocket as well as over HTTP (CORS).

/// The configured allow-list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// Nothing configured: pages of this machine only, so that a forgotten setting never opens a production system.
    Development,
    /// `*`: tokens are the only protection.
    Any,
    /// Exactly these, compared as the browser sends them (scheme, host, port).
    Listed(Vec<String>),
}

impl AllowedOrigins {
    /// Reads the comma list of the setting; empty means [`AllowedOrigins::Development`].
    #[must_use]
    pub fn parse(setting: &str) -> Self {
        let listed: Vec<String> = setting
            .split(',')
            .map(|o| o.trim().trim_end_matches('/').to_ascii_lowercase())
            .filter(|o| !o.is_empty())
            .collect();
        if listed.is_empty() {
            Self::Development
        } else if listed.iter().any(|o| o == "*") {
            Self::Any
        } else {
            Self::Listed(listed)
        }
    }

    /// Whether a request with this `Origin` header may go on. Requests without one do not come from a page.
    #[must_use]
    pub fn allows(&self, origin: Option<&str>) -> bool {
        let Some(origin) = origin else { return true };
        match self {
            Self::Any => true,
            Self::Listed(listed) => listed.iter().any(|o| o.eq_ignore_ascii_case(origin)),
            Self::Development => is_this_machine(origin),
        }
    }
}

fn is_this_machine(origin: &str) -> bool {
    let Some(rest) = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")) else {
        return false;
    };
    let host = match rest.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => rest,
    };
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_setting_only_pages_of_this_machine_may_connect() {
        let origins = AllowedOrigins::parse("");
        for good in
            [None, Some("http://localhost:5173"), Some("http://127.0.0.1"), Some("https://[::1]:8443")]
        {
            assert!(origins.allows(good), "{good:?}");
        }
        for bad in [
            "http://localhost.evil.test",
            "http://evil.test",
            "null",
            "http://127.0.0.1.evil.test:80",
            "http://evil.test:localhost",
        ] {
            assert!(!origins.allows(Some(bad)), "{bad}");
        }
    }

    #[test]
    fn a_listed_origin_is_compared_whole() {
        let origins = AllowedOrigins::parse("https://chat.example, https://www.example/");
        assert!(origins.allows(Some("https://chat.example")));
        assert!(origins.allows(Some("https://www.example")));
        assert!(!origins.allows(Some("https://chat.example.evil")));
        assert!(!origins.allows(Some("http://chat.example")));
        assert!(AllowedOrigins::parse("*").allows(Some("http://anything")));
    }
}
