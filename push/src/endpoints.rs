//! The rules for the endpoints of browsers. Pure. A browser gets its endpoint from the push service of its maker, so
//! few hosts are enough. Without these rules every user could make this program send requests to any public address.

use tidings_shared::outbound::parse_url;
use url::{Host, Url};

/// The push services of Chrome, Edge, Firefox and Safari, as the setting lists them.
pub const KNOWN_HOSTS: &str =
    "fcm.googleapis.com,*.push.services.mozilla.com,*.notify.windows.com,*.push.apple.com";
const HTTPS_PORT: u16 = 443;

/// Which endpoints may be registered and sent to.
#[derive(Debug, Clone)]
pub struct EndpointRules {
    hosts: Vec<HostPattern>,
    /// Allows `http`, other ports than 443, and private addresses.
    allow_private: bool,
}

/// One entry of the list of hosts, in the form in which a [`Url`] has its host.
#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    Exactly(String),
    /// All hosts below a domain: the domain with a dot before it.
    Below(String),
}

impl EndpointRules {
    /// Reads the comma-separated list of hosts.
    ///
    /// # Errors
    /// What is wrong with the list.
    pub fn parse(hosts: &str, allow_private: bool) -> Result<Self, String> {
        let entries = hosts.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let hosts = entries.map(HostPattern::parse).collect::<Result<Vec<_>, _>>()?;
        if hosts.is_empty() {
            return Err("must name at least one host".to_owned());
        }
        Ok(Self { hosts, allow_private })
    }

    /// Parses an endpoint. The error is the rule that it breaks. A name may still have a private address, which the
    /// client checks when it connects.
    pub fn parse_endpoint(&self, text: &str) -> Result<Url, String> {
        let url = parse_url(text, self.allow_private).map_err(|rule| rule.replacen("url", "endpoint", 1))?;
        if !self.allow_private && url.port_or_known_default() != Some(HTTPS_PORT) {
            return Err("endpoint must use the port 443".to_owned());
        }
        let host = url.host_str().unwrap_or_default();
        if !self.hosts.iter().any(|pattern| pattern.matches(host)) {
            return Err("endpoint must be at a push service that this server allows".to_owned());
        }
        Ok(url)
    }
}

impl HostPattern {
    fn parse(entry: &str) -> Result<Self, String> {
        let domain = entry.strip_prefix("*.");
        let pattern = match (domain, Host::parse(domain.unwrap_or(entry))) {
            (None, Ok(host)) => Some(Self::Exactly(host.to_string())),
            (Some(_), Ok(Host::Domain(domain))) => Some(Self::Below(format!(".{domain}"))),
            _ => None,
        };
        // A star elsewhere is a valid character of a host.
        pattern
            .filter(|_| !domain.unwrap_or(entry).contains('*'))
            .ok_or_else(|| format!("{entry} is neither a host nor *.domain"))
    }

    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exactly(allowed) => host == allowed,
            Self::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_push_services_are_allowed_by_default() {
        let rules = EndpointRules::parse(KNOWN_HOSTS, false).unwrap();
        for allowed in [
            "https://fcm.googleapis.com/fcm/send/x:y",
            "https://FCM.googleapis.com:443/fcm/send/x",
            "https://updates.push.services.mozilla.com/wpush/v2/x",
            "https://wns2-par02p.notify.windows.com/w/?token=x",
            "https://web.push.apple.com/x",
        ] {
            assert!(rules.parse_endpoint(allowed).is_ok(), "{allowed}");
        }
        for refused in [
            "http://fcm.googleapis.com/x",
            "https://fcm.googleapis.com:8443/x",
            "https://fcm.googleapis.com./x",
            "https://x.fcm.googleapis.com/x",
            "https://fcm.googleapis.com.example.com/x",
            "https://user@fcm.googleapis.com/x",
            "https://fcm.googleapis.com@example.com/x",
            "https://push.apple.com/x",
            "https://.push.apple.com/x",
            "https://evilpush.apple.com/x",
            "https://example.com/x",
            "https://1.1.1.1/x",
            "https://127.0.0.1/x",
        ] {
            assert!(rules.parse_endpoint(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn listed_host_may_have_other_port_only_with_private_addresses() {
        let refused = EndpointRules::parse("127.0.0.1,[::1]", false).unwrap();
        let allowed = EndpointRules::parse("127.0.0.1,[::1]", true).unwrap();
        for endpoint in ["http://127.0.0.1:9/x", "https://127.1/x", "http://[::1]:9/x"] {
            assert!(refused.parse_endpoint(endpoint).is_err(), "{endpoint}");
            assert!(allowed.parse_endpoint(endpoint).is_ok(), "{endpoint}");
        }
        assert!(allowed.parse_endpoint("http://localhost:9/x").is_err());
    }

    #[test]
    fn entry_that_is_no_host_is_refused() {
        for wrong in ["", " , ", "*", "*.", "*.127.0.0.1", "a.*.example.com", "https://example.com", "a:443"]
        {
            assert!(EndpointRules::parse(wrong, false).is_err(), "{wrong}");
        }
        assert!(EndpointRules::parse("Push.Example.COM, *.example.org", false).is_ok());
    }
}
