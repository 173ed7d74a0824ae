//! The setting of the browser origins whose pages may use the services, over WebSocket and over HTTP (CORS).

use thiserror::Error;

/// The configured browser origins whose pages may use the services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// The setting is empty, and only pages of this machine are allowed. A forgotten setting is therefore safe.
    Development,
    /// The setting is `*`, and all origins are allowed. Then tokens are the only protection.
    Any,
    /// The setting lists the allowed origins.
    Listed(Vec<OriginPattern>),
}

/// One entry of the list of allowed origins, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginPattern {
    /// One origin as browsers send it: scheme, host, and the port unless it is the default port of the scheme.
    Exactly(String),
    /// An entry such as `https://*.example.com:8443` allows all subdomains with this scheme and port, but not
    /// `example.com` itself.
    Subdomains { scheme: String, suffix: String },
}

/// The error of an entry of the setting that is not an origin.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0} is not an origin: expected scheme://host[:port] with http or https, scheme://*.host[:port], or *"
)]
pub struct InvalidOrigin(String);

impl AllowedOrigins {
    /// Parses the comma-separated list of the setting; empty means [`AllowedOrigins::Development`].
    pub fn parse(setting: &str) -> Result<Self, InvalidOrigin> {
        let mut listed = Vec::new();
        let entries = setting.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        for entry in entries {
            if entry == "*" {
                return Ok(Self::Any);
            }
            listed.push(OriginPattern::parse(entry).ok_or_else(|| InvalidOrigin(entry.to_owned()))?);
        }
        Ok(if listed.is_empty() { Self::Development } else { Self::Listed(listed) })
    }

    /// Whether a request with this `Origin` header is allowed. A request without the header is always allowed, because
    /// it does not come from a page in a browser.
    #[must_use]
    pub fn allows(&self, origin: Option<&str>) -> bool {
        let Some(origin) = origin else { return true };
        match self {
            Self::Any => true,
            Self::Listed(listed) => listed.iter().any(|entry| entry.matches(origin)),
            Self::Development => is_this_machine(origin),
        }
    }
}

impl OriginPattern {
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.strip_suffix('/').unwrap_or(entry).to_ascii_lowercase();
        let (scheme, rest) = entry.split_once("://")?;
        // Browsers leave out the default port of the scheme, so the default port is also removed from an entry.
        let (host, default_port) = match scheme {
            "https" => (rest, ":443"),
            "http" => (rest, ":80"),
            _ => return None,
        };
        let host = host.strip_suffix(default_port).unwrap_or(host);
        match host.strip_prefix('*') {
            Some(suffix) => (is_host(suffix.strip_prefix('.')?) && suffix.matches('.').count() > 1)
                .then(|| Self::Subdomains { scheme: scheme.to_owned(), suffix: suffix.to_owned() }),
            None => is_host(host).then(|| Self::Exactly(format!("{scheme}://{host}"))),
        }
    }

    fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Exactly(listed) => listed.eq_ignore_ascii_case(origin),
            Self::Subdomains { scheme, suffix } => {
                let origin = origin.to_ascii_lowercase();
                let host = origin.strip_prefix(scheme.as_str()).and_then(|rest| rest.strip_prefix("://"));
                let subdomain = host.and_then(|host| host.strip_suffix(suffix.as_str()));
                subdomain
                    .is_some_and(|subdomain| !subdomain.is_empty() && subdomain.split('.').all(is_host_label))
            }
        }
    }
}

/// Whether the text is a host name or an address, with or without a port.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(is_host_label),
    };
    host && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn is_host_label(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
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
    fn empty_setting_allows_only_loopback_origins() {
        let origins = AllowedOrigins::parse("").unwrap();
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
    fn listed_origin_is_compared_as_a_whole() {
        let origins =
            AllowedOrigins::parse("https://chat.example, HTTPS://www.Example:443/,http://[::1]:8080")
                .unwrap();
        for good in ["https://chat.example", "https://www.example", "http://[::1]:8080"] {
            assert!(origins.allows(Some(good)), "{good}");
        }
        for bad in [
            "https://chat.example.evil",
            "http://chat.example",
            "https://chat.example:8443",
            "https://evil.chat.example",
            "http://localhost",
            "null",
            "",
        ] {
            assert!(!origins.allows(Some(bad)), "{bad}");
        }
        assert!(origins.allows(None));
        assert!(AllowedOrigins::parse("*").unwrap().allows(Some("http://anything")));
    }

    #[test]
    fn wildcard_allows_only_subdomains() {
        let origins = AllowedOrigins::parse("https://*.example.com,http://*.example.org:8080").unwrap();
        for good in ["https://a.example.com", "https://a.b.EXAMPLE.com", "http://x.example.org:8080"] {
            assert!(origins.allows(Some(good)), "{good}");
        }
        for bad in [
            "https://example.com",
            "https://.example.com",
            "https://evil.test/.example.com",
            "https://evil.test#.example.com",
            "https://user@evil.test:1.example.com",
            "https://aexample.com",
            "https://a.example.com.evil.test",
            "https://a.example.com:8443",
            "http://a.example.com",
            "http://x.example.org",
        ] {
            assert!(!origins.allows(Some(bad)), "{bad}");
        }
    }

    #[test]
    fn invalid_origin_in_the_setting_is_reported() {
        for bad in [
            "chat.example",
            "https://",
            "https://chat.example/app",
            "ftp://chat.example",
            "https://*",
            "https://*.com",
            "https://*chat.example",
            "https://a.*.example",
            "https://chat.example:port",
            "https://chat.example:0",
            "null",
            "https://a b",
        ] {
            let error = AllowedOrigins::parse(&format!("https://good.example,{bad}")).unwrap_err();
            assert!(error.to_string().contains(bad), "{bad}: {error}");
        }
    }
}
