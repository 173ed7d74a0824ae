//! The public addresses of an installation, parsed once.

use url::Url;

/// The schemes that an address may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Http,
    WebSocket,
}

impl Scheme {
    /// The names of the scheme, without and with TLS.
    fn names(self) -> [&'static str; 2] {
        match self {
            Self::Http => ["http", "https"],
            Self::WebSocket => ["ws", "wss"],
        }
    }
}

/// One public address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub url: Url,
    pub tls: bool,
    /// The host without the brackets of an IPv6 address.
    pub host: String,
    pub port: u16,
}

impl Endpoint {
    /// Parses an address with one of the two schemes. The error says what is wrong with it.
    pub fn parse(text: &str, scheme: Scheme) -> Result<Self, String> {
        let url: Url = text.parse().map_err(|error| format!("{text:?} is not a URL: {error}"))?;
        let [plain, tls] = scheme.names();
        if url.scheme() != plain && url.scheme() != tls {
            return Err(format!("{text:?} must begin with {tls}:// or {plain}://"));
        }
        if url.path() != "/" || url.query().is_some() || !url.username().is_empty() {
            return Err(format!("{text:?} must have only a host and a port"));
        }
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().ok_or_else(|| format!("{text:?} has no port"))?;
        Ok(Self { tls: url.scheme() == tls, host, port, url })
    }

    /// The same address with the scheme of WebSockets.
    #[must_use]
    pub fn for_websockets(mut self) -> Self {
        let [plain, tls] = Scheme::WebSocket.names();
        // Changing the scheme fails only between special and other schemes, and these four are special.
        let _ = self.url.set_scheme(if self.tls { tls } else { plain });
        self
    }

    /// The address of a path.
    pub fn url_of(&self, path: &str) -> String {
        format!("{}{path}", self.url.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_parsed_and_changed_to_websockets() {
        let endpoint = Endpoint::parse("https://chat.example.com", Scheme::Http).unwrap();
        assert_eq!((endpoint.tls, endpoint.host.as_str(), endpoint.port), (true, "chat.example.com", 443));
        assert_eq!(endpoint.url_of("/v1/rooms"), "https://chat.example.com/v1/rooms");
        let sockets = endpoint.for_websockets();
        assert_eq!(sockets.url_of("/v1/ws"), "wss://chat.example.com/v1/ws");
        let local = Endpoint::parse("http://[::1]:8081", Scheme::Http).unwrap();
        assert_eq!((local.tls, local.host.as_str(), local.port), (false, "::1", 8081));
        assert_eq!(local.for_websockets().url_of("/v1/ws"), "ws://[::1]:8081/v1/ws");
    }

    #[test]
    fn wrong_address_is_refused() {
        for text in ["chat.example.com", "ftp://x", "https://x/path", "https://me@x", "https://x?y", ""] {
            assert!(Endpoint::parse(text, Scheme::Http).is_err(), "{text}");
        }
        assert!(Endpoint::parse("https://x", Scheme::WebSocket).is_err());
    }
}
