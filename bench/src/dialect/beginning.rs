//! The beginning of a payload, by which the frames of a server are distinguished. In the text of a beginning, `{ref}`
//! stands for any number, and `{room}` for any text up to the next quote. Beginnings are parsed once, because the load
//! generator compares each received payload with them.

use serde::{Deserialize, Serialize};

/// See the module. It is a string in descriptions.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Beginning {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Reference,
    Room,
}

impl Beginning {
    /// Whether a payload begins like this.
    #[must_use]
    pub fn matches(&self, payload: &[u8]) -> bool {
        self.read(payload).is_some()
    }

    /// The number in the place of `{ref}`, or right after the text if that has no `{ref}`. `None`: the payload begins
    /// otherwise.
    #[must_use]
    pub fn reference(&self, payload: &[u8]) -> Option<u64> {
        let (reference, rest) = self.read(payload)?;
        Some(reference.unwrap_or_else(|| number(rest).0))
    }

    fn read<'a>(&self, payload: &'a [u8]) -> Option<(Option<u64>, &'a [u8])> {
        let (mut reference, mut rest) = (None, payload);
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => rest = rest.strip_prefix(text.as_bytes())?,
                Piece::Reference => {
                    let (value, digits) = number(rest);
                    reference = (digits > 0).then_some(value);
                    rest = &rest[digits..];
                    reference?;
                }
                Piece::Room => rest = &rest[memchr::memchr(b'"', rest)?..],
            }
        }
        Some((reference, rest))
    }
}

impl From<String> for Beginning {
    fn from(text: String) -> Self {
        let mut pieces = Vec::new();
        let mut rest = text.as_str();
        loop {
            let names = [("{ref}", Piece::Reference), ("{room}", Piece::Room)];
            let found = names.into_iter().filter_map(|(name, piece)| Some((rest.find(name)?, name, piece)));
            let Some((at, name, piece)) = found.min_by_key(|(at, ..)| *at) else { break };
            pieces.extend([Piece::Text(rest[..at].to_owned()), piece]);
            rest = &rest[at + name.len()..];
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Beginning { text, pieces }
    }
}

impl From<&str> for Beginning {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<Beginning> for String {
    fn from(beginning: Beginning) -> Self {
        beginning.text
    }
}

/// The number at the beginning, and how many digits it has.
#[must_use]
pub fn number(bytes: &[u8]) -> (u64, usize) {
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
        let ack = Beginning::from("43");
        assert_eq!(ack.reference(b"4317[{}]"), Some(17));
        assert!(ack.matches(b"43") && !ack.matches(b"42[") && !ack.matches(b"4"));
    }

    #[test]
    fn reference_stands_for_a_number_that_is_there() {
        let ack = Beginning::from(r#"{"id":{ref},"rpc""#);
        assert_eq!(ack.reference(br#"{"id":4096,"rpc":{"data":{"seq":7}}}"#), Some(4096));
        for other in [r#"{"id":4096,"error":{}}"#, r#"{"id":,"rpc":{}}"#, r#"{"id":12"#, "{}"] {
            assert_eq!(ack.reference(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn room_stands_for_any_name_up_to_the_quote() {
        let delivery = Beginning::from(r#"{"push":{"channel":"{room}","pub":{"data":{"type":"message:new""#);
        let push =
            |kind: &str| format!(r#"{{"push":{{"channel":"r-1","pub":{{"data":{{"type":"{kind}"}}}}}}}}"#);
        assert!(delivery.matches(push("message:new").as_bytes()));
        assert!(!delivery.matches(push("typing:start").as_bytes()));
        assert!(!delivery.matches(br#"{"push":{"channel":"#));
    }
}
