//! Negotiates compression in the handshake (RFC 7692, 7.1). Pure: from the peer's offers to the answer. The first valid
//! offer is accepted, and invalid offers are declined. Neither side keeps a context between messages. So one compressed
//! frame serves all receivers, and an idle connection needs no compressor.

use std::num::NonZeroU8;

const PERMESSAGE_DEFLATE: &str = "permessage-deflate";

/// The size of the peer's inflate window, as the exponent of a power of two: 8 to 15.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window(NonZeroU8);

impl Window {
    /// 32 KiB: the default of a peer that names no window, and the window of the server's compressor.
    const LARGEST: Window = Window(NonZeroU8::MIN.saturating_add(14));

    /// Whether the peer can inflate a message of this length that was compressed with the largest window. A reference
    /// never goes back beyond the start of the message.
    pub(crate) fn covers(self, payload_bytes: usize) -> bool {
        self == Window::LARGEST || payload_bytes <= 1 << self.0.get()
    }

    fn parse(bits: &str) -> Option<Window> {
        let bits = match bits.as_bytes() {
            [digit @ b'8'..=b'9'] => digit - b'0',
            [b'1', digit @ b'0'..=b'5'] => 10 + digit - b'0',
            _ => return None,
        };
        NonZeroU8::new(bits).map(Window)
    }
}

/// The accepted offer of permessage-deflate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Agreement {
    /// The window that the offer names, which the answer must repeat; `None` if the offer names no window.
    named_window: Option<Window>,
}

impl Agreement {
    /// The peer's inflate window, which limits the messages that may be compressed for the peer.
    pub(crate) fn window(self) -> Window {
        self.named_window.unwrap_or(Window::LARGEST)
    }

    /// The value of `Sec-WebSocket-Extensions` in the answer.
    pub(crate) fn answer(self) -> String {
        let mut answer =
            format!("{PERMESSAGE_DEFLATE}; server_no_context_takeover; client_no_context_takeover");
        if let Some(Window(bits)) = self.named_window {
            answer.push_str(&format!("; server_max_window_bits={bits}"));
        }
        answer
    }
}

/// Accepts the first valid offer. `headers` are the values of all `Sec-WebSocket-Extensions`, in order.
pub(crate) fn accept_first_offer<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Agreement> {
    headers.flat_map(|header| split_unquoted(header, ',')).find_map(|offer| parse_offer(offer.trim()))
}

/// Evaluates one offer; `None` if it is for another extension, or has an unknown, repeated or invalid parameter.
fn parse_offer(offer: &str) -> Option<Agreement> {
    let mut parts = split_unquoted(offer, ';').map(str::trim);
    if parts.next() != Some(PERMESSAGE_DEFLATE) {
        return None;
    }
    let mut named_window = None;
    let mut seen = Vec::new();
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(strip_quotes(value.trim_start())?)),
            None => (part, None),
        };
        match (name, value) {
            (
                "server_no_context_takeover" | "client_no_context_takeover" | "client_max_window_bits",
                None,
            ) => {}
            // The client limits its compressor's window. The server's inflate window fits every client.
            ("client_max_window_bits", Some(bits)) => drop(Window::parse(bits)?),
            ("server_max_window_bits", Some(bits)) => named_window = Some(Window::parse(bits)?),
            _ => return None,
        }
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
    }
    Some(Agreement { named_window })
}

/// Splits at separators that are not in quotes.
fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character| {
        if escaped {
            escaped = false;
            return false;
        }
        match character {
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        character == separator && !quoted
    })
}

/// Removes the quotes of a value; `None` if the closing quote is missing. No valid value needs an escape, so a value
/// with a backslash is refused later.
fn strip_quotes(value: &str) -> Option<&str> {
    match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"'),
        None => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    fn answer(headers: &[&str]) -> Option<String> {
        accept_first_offer(headers.iter().copied()).map(Agreement::answer)
    }

    #[test]
    fn acceptable_offer_is_answered_without_context_takeover() {
        for offer in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=8",
            "permessage-deflate;client_max_window_bits=\"15\"",
            "permessage-deflate; server_no_context_takeover",
            "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
            "x-webkit-deflate-frame, permessage-deflate ; client_max_window_bits",
            "other; a=\"x, permessage-deflate; server_max_window_bits=9\", permessage-deflate",
        ] {
            assert_eq!(answer(&[offer]).as_deref(), Some(BOTH), "{offer}");
        }
    }

    #[test]
    fn window_of_offer_is_kept_and_answered() {
        for bits in 8..=15 {
            for offer in [
                format!("permessage-deflate; server_max_window_bits={bits}"),
                format!("permessage-deflate; client_max_window_bits; server_max_window_bits=\"{bits}\""),
            ] {
                let agreed = accept_first_offer([offer.as_str()].into_iter()).unwrap();
                assert_eq!(agreed.answer(), format!("{BOTH}; server_max_window_bits={bits}"));
                assert!(agreed.window().covers(1 << bits));
                assert_eq!(agreed.window().covers((1 << bits) + 1), bits == 15, "{bits}");
            }
        }
        assert!(accept_first_offer(["permessage-deflate"].into_iter()).unwrap().window().covers(1_000_000));
    }

    #[test]
    fn malformed_offer_is_declined() {
        for offer in [
            "",
            "permessage-deflat",
            "permessage-bzip2",
            "permessage-deflate;",
            "permessage-deflate; unknown",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover=true",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=08",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; server_max_window_bits=\"10",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=1e1",
            "permessage-deflate; client_max_window_bits; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=10; client_max_window_bits=10",
            "permessage-deflate; server_max_window_bits=10; server_max_window_bits=11",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "\"permessage-deflate\"",
            "other; a=\"x, permessage-deflate\"",
        ] {
            assert_eq!(answer(&[offer]), None, "{offer}");
        }
    }

    #[test]
    fn first_acceptable_offer_of_all_headers_is_taken() {
        let bits = |bits: u8| format!("{BOTH}; server_max_window_bits={bits}");
        let cases: [(&[&str], String); 4] = [
            (&["permessage-deflate; server_max_window_bits=10, permessage-deflate"], bits(10)),
            (&["permessage-deflate, permessage-deflate; server_max_window_bits=10"], BOTH.to_owned()),
            (
                &[
                    "permessage-deflate; server_max_window_bits=16, permessage-deflate; server_max_window_bits=9",
                    "permessage-deflate",
                ],
                bits(9),
            ),
            (&["permessage-deflate; x, foo", "bar", "permessage-deflate"], BOTH.to_owned()),
        ];
        for (headers, expected) in cases {
            assert_eq!(answer(headers), Some(expected), "{headers:?}");
        }
    }
}
