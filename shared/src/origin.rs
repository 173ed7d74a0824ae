//! Which browser origins may talk to the services, over the WebSocket as well as over HTTP (CORS).

use std::fmt;

/// The configured allow-list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// Nothing configured: pages of this machine only, so that a forgotten setting never opens a production system.
    Development,
    /// `*`: tokens are the only protection.
    Any,
    /// These.
    Listed(Vec<Listed>),
}

/// One entry of the list, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// Compared whole, as browsers send it: scheme, host, and the port unless it is the scheme's own.
    Exactly(String),
    /// `https://*.example.com:8443`: every host below it, of the same scheme and port, not the host itself.
    Below { scheme: String, suffix: String },
}

/// Why an entry is no origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoOrigin(String);

impl fmt::Display for NoOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = "expected scheme://host[:port] with http or https, scheme://*.host[:port], or *";
        write!(f, "{} is no origin: {rule}", self.0)
    }
}

impl AllowedOrigins {
    /// Reads the comma list of the setting; empty means [`AllowedOrigins::Development`].
    ///
    /// # Errors
    /// When an entry could never be the origin of a page.
    pub fn parse(setting: &str) -> Result<Self, NoOrigin> {
        let mut listed = Vec::new();
        let entries = setting.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        for entry in entries {
            if entry == "*" {
                return Ok(Self::Any);
            }
            listed.push(Listed::parse(entry).ok_or_else(|| NoOrigin(entry.to_owned()))?);
        }
        Ok(if listed.is_empty() { Self::Development } else { Self::Listed(listed) })
    }

    /// Whether a request with this `Origin` header may go on. Requests without one do not come from a page.
    #[must_use]
    pub fn allows(&self, origin: Option<&str>) -> bool {
        let Some(origin) = origin else { return true };
        match self {
            Self::Any => true,
            Self::Listed(listed) => listed.iter().any(|entry| entry.is(origin)),
            Self::Development => is_this_machine(origin),
        }
    }
}

impl Listed {
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.strip_suffix('/').unwrap_or(entry).to_ascii_lowercase();
        let (scheme, rest) = entry.split_once("://")?;
        // What browsers leave out could never match.
        let (host, own_port) = match scheme {
            "https" => (rest, ":443"),
            "http" => (rest, ":80"),
            _ => return None,
        };
        let host = host.strip_suffix(own_port).unwrap_or(host);
        match host.strip_prefix('*') {
            Some(suffix) => (is_host(suffix.strip_prefix('.')?) && suffix.matches('.').count() > 1)
                .then(|| Self::Below { scheme: scheme.to_owned(), suffix: suffix.to_owned() }),
            None => is_host(host).then(|| Self::Exactly(format!("{scheme}://{host}"))),
        }
    }

    fn is(&self, origin: &str) -> bool {
        match self {
            Self::Exactly(listed) => listed.eq_ignore_ascii_case(origin),
            Self::Below { scheme, suffix } => {
                let origin = origin.to_ascii_lowercase();
                let host = origin.strip_prefix(scheme.as_str()).and_then(|rest| rest.strip_prefix("://"));
                let below = host.and_then(|host| host.strip_suffix(suffix.as_str()));
                below.is_some_and(|below| !below.is_empty() && below.split('.').all(is_label))
            }
        }
    }
}

/// A host name, or an address, with or without a port.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(is_label),
    };
    host && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn is_label(label: &str) -> bool {
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
    fn without_a_setting_only_pages_of_this_machine_may_connect() {
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
    fn a_listed_origin_is_compared_whole() {
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
    fn a_wildcard_stands_for_hosts_below_and_nothing_else() {
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
    fn what_could_never_be_an_origin_is_told() {
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
