//! The prefix of a payload, from which the kind of a frame is recognised. In the text of a prefix, `{ref}` stands for
//! any number, and `{room}` for any text up to the next quote. Prefixes are parsed in advance, because the load
//! generator compares each received payload with them.

use serde::{Deserialize, Serialize};

/// A parsed prefix. In the JSON description of a server it is a string.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct PayloadPrefix {
    text: String,
    pieces: Vec<PrefixPiece>,
}

#[derive(Debug, Clone)]
enum PrefixPiece {
    Text(String),
    Reference,
    Room,
}

impl PayloadPrefix {
    /// Whether a payload begins with this prefix.
    #[must_use]
    pub fn matches(&self, payload: &[u8]) -> bool {
        self.parse(payload).is_some()
    }

    /// The number at `{ref}`, or right after the prefix if it has no `{ref}`. `None` if the payload does not match.
    #[must_use]
    pub fn reference(&self, payload: &[u8]) -> Option<u64> {
        let (reference, rest) = self.parse(payload)?;
        Some(reference.unwrap_or_else(|| parse_number(rest).0))
    }

    /// The number at `{ref}`, if the prefix has it, and the payload behind the prefix. `None` if the payload does not
    /// match.
    fn parse<'a>(&self, payload: &'a [u8]) -> Option<(Option<u64>, &'a [u8])> {
        let (mut reference, mut rest) = (None, payload);
        for piece in &self.pieces {
            match piece {
                PrefixPiece::Text(text) => rest = rest.strip_prefix(text.as_bytes())?,
                PrefixPiece::Reference => {
                    let (value, digits) = parse_number(rest);
                    reference = (digits > 0).then_some(value);
                    rest = &rest[digits..];
                    reference?;
                }
                PrefixPiece::Room => rest = &rest[memchr::memchr(b'"', rest)?..],
            }
        }
        Some((reference, rest))
    }
}

impl From<String> for PayloadPrefix {
    fn from(text: String) -> Self {
        let mut pieces = Vec::new();
        let mut rest = text.as_str();
        loop {
            let names = [("{ref}", PrefixPiece::Reference), ("{room}", PrefixPiece::Room)];
            let found = names.into_iter().filter_map(|(name, piece)| Some((rest.find(name)?, name, piece)));
            let Some((at, name, piece)) = found.min_by_key(|(at, ..)| *at) else { break };
            pieces.extend([PrefixPiece::Text(rest[..at].to_owned()), piece]);
            rest = &rest[at + name.len()..];
        }
        pieces.push(PrefixPiece::Text(rest.to_owned()));
        PayloadPrefix { text, pieces }
    }
}

impl From<&str> for PayloadPrefix {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<PayloadPrefix> for String {
    fn from(prefix: PayloadPrefix) -> Self {
        prefix.text
    }
}

/// Parses the decimal number at the beginning of `bytes`. Returns the number and the count of its digits; both are 0
/// without a digit.
#[must_use]
pub fn parse_number(bytes: &[u8]) -> (u64, usize) {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold((0_u64, 0), |(value, count), digit| {
        (value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')), count + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_without_names_is_a_prefix_and_the_reference_follows() {
        let ack = PayloadPrefix::from("43");
        assert_eq!(ack.reference(b"4317[{}]"), Some(17));
        assert!(ack.matches(b"43") && !ack.matches(b"42[") && !ack.matches(b"4"));
    }

    #[test]
    fn reference_stands_for_a_number_that_is_there() {
        let ack = PayloadPrefix::from(r#"{"id":{ref},"rpc""#);
        assert_eq!(ack.reference(br#"{"id":4096,"rpc":{"data":{"seq":7}}}"#), Some(4096));
        for other in [r#"{"id":4096,"error":{}}"#, r#"{"id":,"rpc":{}}"#, r#"{"id":12"#, "{}"] {
            assert_eq!(ack.reference(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn room_stands_for_any_name_up_to_the_quote() {
        let delivery =
            PayloadPrefix::from(r#"{"push":{"channel":"{room}","pub":{"data":{"type":"message:new""#);
        let push =
            |kind: &str| format!(r#"{{"push":{{"channel":"r-1","pub":{{"data":{{"type":"{kind}"}}}}}}}}"#);
        assert!(delivery.matches(push("message:new").as_bytes()));
        assert!(!delivery.matches(push("typing:start").as_bytes()));
        assert!(!delivery.matches(br#"{"push":{"channel":"#));
    }
}
