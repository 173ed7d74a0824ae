//! Finds the values of the Redis protocol (RESP3) in the bytes of a pub/sub connection. Locates the channel and payload
//! of each published message, the channel of each confirmation, and the text of strings and errors. Of any other value
//! it finds only the end. Pure: copies and allocates nothing.

use std::ops::Range;

use thiserror::Error;

/// Maximum size of a value. Our payloads are at most some hundred KiB; a larger value ends the connection.
pub const MAX_VALUE_BYTES: usize = 16 * 1024 * 1024;
/// The bytes with which a message begins that was published on a subscribed channel, plain or sharded. The channel and
/// the payload follow.
const MESSAGE_PREFIXES: [&[u8]; 2] = [b">3\r\n$7\r\nmessage\r\n", b">3\r\n$8\r\nsmessage\r\n"];
/// The bytes with which Redis confirms a subscription. The channel follows.
const SUBSCRIBED_PREFIXES: [&[u8]; 2] = [b">3\r\n$9\r\nsubscribe\r\n", b">3\r\n$10\r\nssubscribe\r\n"];
/// The bytes with which Redis reports that a subscription has ended. The channel follows.
const UNSUBSCRIBED_PREFIXES: [&[u8]; 2] = [b">3\r\n$11\r\nunsubscribe\r\n", b">3\r\n$12\r\nsunsubscribe\r\n"];
/// Maximum nesting of arrays, which bounds the recursion.
const MAX_DEPTH: u8 = 16;

/// Why bytes are not values of the protocol, or not values that a pub/sub connection may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("invalid bytes from Redis: {0}")]
pub struct RespError(&'static str);

/// A complete value, with the ranges of its parts in the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundValue {
    Message(MessageRanges),
    /// The connection is subscribed to this channel.
    Subscribed(Range<usize>),
    /// The subscription to this channel has ended, with or without a request.
    Unsubscribed(Range<usize>),
    /// The text of an error.
    Error(Range<usize>),
    /// A bulk string or a verbatim string.
    Text(Range<usize>),
    /// Any other value.
    Other,
}

/// The ranges of a message's channel and payload in the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRanges {
    pub channel: Range<usize>,
    pub payload: Range<usize>,
}

/// Finds the value that begins at `at`. Returns the value and its end, or `None` if the value is not complete yet.
pub fn find_value(input: &[u8], at: usize) -> Result<Option<(FoundValue, usize)>, RespError> {
    let Some(start) = skip_prefix(input, at, MESSAGE_PREFIXES) else {
        return Ok(end_of_value(input, at, MAX_DEPTH)?.map(|end| (classify(input, at, end), end)));
    };
    let Some((channel, at)) = read_bulk_string(input, start)? else { return Ok(None) };
    let Some((payload, at)) = read_bulk_string(input, at)? else { return Ok(None) };
    Ok(Some((FoundValue::Message(MessageRanges { channel, payload }), at)))
}

/// The end of the prefix with which the value at `at` begins, or `None` if it begins with neither.
fn skip_prefix(input: &[u8], at: usize, prefixes: [&[u8]; 2]) -> Option<usize> {
    prefixes.into_iter().find(|prefix| input[at..].starts_with(prefix)).map(|prefix| at + prefix.len())
}

/// The meaning of the complete value from `at` to `end`, which is no message.
fn classify(input: &[u8], at: usize, end: usize) -> FoundValue {
    let channel_after = |prefixes| {
        let start = skip_prefix(input, at, prefixes)?;
        // An UNSUBSCRIBE that names no channel may be answered with a null in place of the channel.
        read_bulk_string(input, start).ok().flatten().map(|(channel, _)| channel)
    };
    let content = || {
        let (length, start) = read_length(input, at + 1).ok().flatten()?;
        Some(start..start + length)
    };
    let found = match input[at] {
        b'>' => channel_after(SUBSCRIBED_PREFIXES)
            .map(FoundValue::Subscribed)
            .or_else(|| channel_after(UNSUBSCRIBED_PREFIXES).map(FoundValue::Unsubscribed)),
        b'-' => Some(FoundValue::Error(at + 1..end - 2)),
        b'!' => content().map(FoundValue::Error),
        b'$' | b'=' => content().map(FoundValue::Text),
        _ => None,
    };
    found.unwrap_or(FoundValue::Other)
}

/// Reads a bulk string, `$5\r\nhello\r\n`. Returns the range of its bytes and the end of the value.
fn read_bulk_string(input: &[u8], at: usize) -> Result<Option<(Range<usize>, usize)>, RespError> {
    match input.get(at) {
        None => return Ok(None),
        Some(b'$') => {}
        Some(_) => return Err(RespError("a message whose channel or payload is not a text")),
    }
    let Some((length, start)) = read_length(input, at + 1)? else { return Ok(None) };
    let end = start + length;
    Ok(skip_line_end(input, end)?.map(|next| (start..end, next)))
}

/// The end of the value that begins at `at`, or `None` if the value is not complete yet.
fn end_of_value(input: &[u8], at: usize, depth: u8) -> Result<Option<usize>, RespError> {
    let Some(kind) = input.get(at) else { return Ok(None) };
    let at = at + 1;
    let per_entry = match kind {
        b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => {
            let rest = &input[at..];
            return Ok(rest.windows(2).position(|pair| pair == b"\r\n").map(|line| at + line + 2));
        }
        b'$' | b'=' | b'!' | b'*' | b'~' | b'>' if input[at..].starts_with(b"-") => {
            let null = &input[at..input.len().min(at + 4)];
            return match b"-1\r\n".starts_with(null) {
                true => Ok((null.len() == 4).then_some(at + 4)),
                false => Err(RespError("a negative length")),
            };
        }
        b'$' | b'=' | b'!' => {
            let Some((length, start)) = read_length(input, at)? else { return Ok(None) };
            return skip_line_end(input, start + length);
        }
        b'*' | b'~' | b'>' => 1,
        b'%' | b'|' => 2,
        _ => return Err(RespError("an unknown type")),
    };
    let deeper = depth.checked_sub(1).ok_or(RespError("arrays are nested too deeply"))?;
    let Some((entries, mut at)) = read_length(input, at)? else { return Ok(None) };
    for _ in 0..entries * per_entry {
        let Some(end) = end_of_value(input, at, deeper)? else { return Ok(None) };
        at = end;
    }
    Ok(Some(at))
}

/// Reads a decimal length and its line end. Returns the length and the index after the line.
fn read_length(input: &[u8], start: usize) -> Result<Option<(usize, usize)>, RespError> {
    let mut length = 0;
    for (at, byte) in (start..).zip(&input[start..]) {
        match byte {
            b'0'..=b'9' => length = length * 10 + usize::from(byte - b'0'),
            b'\r' if at > start => return Ok(skip_line_end(input, at)?.map(|next| (length, next))),
            _ => return Err(RespError("a length is not a number")),
        }
        if length > MAX_VALUE_BYTES || at - start > MAX_LENGTH_DIGITS {
            return Err(RespError("a value is too large"));
        }
    }
    Ok(None)
}

/// More digits than a length needs. A longer one is refused, so that leading zeros cannot go on for ever.
const MAX_LENGTH_DIGITS: usize = 16;

/// Checks the line end at `at`. Returns the index after the line end, or `None` if the line end is not complete yet.
fn skip_line_end(input: &[u8], at: usize) -> Result<Option<usize>, RespError> {
    match input.get(at..) {
        Some([b'\r', b'\n', ..]) => Ok(Some(at + 2)),
        None | Some([] | [b'\r']) => Ok(None),
        Some(_) => Err(RespError("a line end is missing")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Values as Redis sends them on a pub/sub connection, each with its meaning.
    const VALUES: &[(&str, &str)] = &[
        (">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\nhello\r\n", "message c hello"),
        (">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n", "subscribed c"),
        ("+PONG\r\n", "other"),
        (">3\r\n$7\r\nmessage\r\n$2\r\n\u{e9}\r\n$4\r\n\r\n$9\r\n", "message \u{e9} \r\n$9"),
        (">3\r\n$8\r\nsmessage\r\n$6\r\n{07}:c\r\n$2\r\nhi\r\n", "message {07}:c hi"),
        ("%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n+modules\r\n*0\r\n", "other"),
        ("=6\r\ntxt:ab\r\n", "text txt:ab"),
        ("*3\r\n$-1\r\n_\r\n*-1\r\n", "other"),
        ("-ERR no\r\n", "error ERR no"),
        (">3\r\n$7\r\nmessage\r\n$0\r\n\r\n$0\r\n\r\n", "message  "),
        (",1.5\r\n", "other"),
        (">3\r\n$10\r\nssubscribe\r\n$6\r\n{07}:c\r\n:2\r\n", "subscribed {07}:c"),
        (">3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n", "unsubscribed c"),
        (">3\r\n$12\r\nsunsubscribe\r\n$6\r\n{07}:c\r\n:0\r\n", "unsubscribed {07}:c"),
        (">3\r\n$11\r\nunsubscribe\r\n_\r\n:0\r\n", "other"),
        (">3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n", "other"),
        (">2\r\n$10\r\ninvalidate\r\n*0\r\n", "other"),
        ("$2\r\n17\r\n", "text 17"),
        ("$-1\r\n", "other"),
        ("!6\r\nERR no\r\n", "error ERR no"),
        ("-\r\n", "error "),
    ];

    fn find_in_text(input: &str, at: usize) -> Option<(String, usize)> {
        let (found, end) = find_value(input.as_bytes(), at).unwrap()?;
        let meaning = match found {
            FoundValue::Message(MessageRanges { channel, payload }) => {
                format!("message {} {}", &input[channel], &input[payload])
            }
            FoundValue::Subscribed(channel) => format!("subscribed {}", &input[channel]),
            FoundValue::Unsubscribed(channel) => format!("unsubscribed {}", &input[channel]),
            FoundValue::Error(text) => format!("error {}", &input[text]),
            FoundValue::Text(text) => format!("text {}", &input[text]),
            FoundValue::Other => "other".to_owned(),
        };
        Some((meaning, end))
    }

    #[test]
    fn consecutive_values_are_found() {
        let all: String = VALUES.iter().map(|(value, _)| *value).collect();
        let mut at = 0;
        for (value, meaning) in VALUES {
            let end = at + value.len();
            assert_eq!(find_in_text(&all, at), Some(((*meaning).to_owned(), end)), "{value:?}");
            at = end;
        }
        assert_eq!(find_in_text(&all, at), None);
    }

    #[test]
    fn value_cut_at_any_byte_is_incomplete() {
        for (value, _) in VALUES {
            for cut in 0..value.len() {
                assert_eq!(
                    find_value(&value.as_bytes()[..cut], 0),
                    Ok(None),
                    "{:?}",
                    &value.as_bytes()[..cut]
                );
            }
        }
    }

    #[test]
    fn malformed_bytes_are_refused() {
        let message = ">3\r\n$7\r\nmessage\r\n";
        for tail in ["$1\r\ncc\r\n", ":1\r\n", "$-1\r\n", "$x\r\n", "$1\r\nc\r\n*0\r\n", "$\r\n", "$1\nc"] {
            assert!(find_value([message, tail].concat().as_bytes(), 0).is_err(), "{tail:?}");
        }
        let deep = "*1\r\n".repeat(100);
        for bytes in ["?", "hello", "$-2\r\n", "*-12\r\n", "*1\r\nx", "$2\r\nabc\r\n", "$?\r\n", &deep] {
            assert!(find_value(bytes.as_bytes(), 0).is_err(), "{bytes:?}");
        }
        for length in ["16777217", "999999999999999999999999", "00000000000000000000000"] {
            assert!(find_value(format!("${length}\r\n").as_bytes(), 0).is_err(), "{length}");
        }
        assert_eq!(find_value(b"$16777216\r\n", 0), Ok(None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_within_their_bounds(
            pieces in proptest::collection::vec(
                prop_oneof![
                    proptest::sample::select(VALUES).prop_map(|(value, _)| value.as_bytes().to_vec()),
                    proptest::collection::vec(
                        proptest::sample::select(b"$*>%+-:_0123459\r\nmx".as_slice()), 0..8),
                ],
                0..6,
            ),
        ) {
            let bytes = pieces.concat();
            let mut at = 0;
            while let Ok(Some((found, end))) = find_value(&bytes, at) {
                prop_assert!(end > at && end <= bytes.len());
                match found {
                    FoundValue::Message(MessageRanges { channel, payload }) => {
                        prop_assert!(at < channel.start && channel.end < payload.start && payload.end < end);
                    }
                    FoundValue::Subscribed(part)
                    | FoundValue::Unsubscribed(part)
                    | FoundValue::Error(part)
                    | FoundValue::Text(part) => {
                        prop_assert!(at < part.start && part.start <= part.end && part.end < end);
                    }
                    FoundValue::Other => {}
                }
                at = end;
            }
        }
    }
}
