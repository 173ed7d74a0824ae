//! The fields of a command, not yet typed: one borrowed JSON text per known name, so that a wrong type is told with
//! the field's name and nothing is copied before it is wanted. Unknown fields are ignored.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    error::Refusal,
    ids::{ClientId, RoomId, Seq, UserId},
    telemetry::TraceContext,
};

/// How deep a client's own JSON may be nested. Parsers give up at 128 and more, and around it there are frames and pages.
const MAX_DEPTH: i32 = 100;

macro_rules! fields {
    ($($name:ident = $wire:literal),* $(,)?) => {
        /// See the module. The same names serve frames and the bodies of HTTP requests that do the same.
        #[derive(Debug, Default, Deserialize)]
        pub struct Fields<'a> {
            $(#[serde(borrow, default, rename = $wire)]
            pub $name: Option<&'a RawValue>,)*
        }
    };
}

fields! {
    kind_of_frame = "type",
    reference = "ref",
    token = "token",
    room = "room",
    rooms = "rooms",
    after = "after",
    presence = "presence",
    client_id = "client_id",
    content = "content",
    kind = "kind",
    reply_to = "reply_to",
    visible_to = "visible_to",
    attachments = "attachments",
    metadata = "metadata",
    attempt = "attempt",
    ack = "ack",
    seq = "seq",
    id = "id",
    emoji = "emoji",
    status = "status",
    users = "users",
    to = "to",
    data = "data",
    traceparent = "traceparent",
}

/// A field that is there and not JSON `null`.
fn given(field: Option<&RawValue>) -> Option<&str> {
    field.map(RawValue::get).filter(|json| *json != "null")
}

/// Reads an optional field; `form` says what it must be.
///
/// # Errors
/// `bad_request` with the field's name.
pub fn optional<T: DeserializeOwned>(
    field: Option<&RawValue>,
    name: &'static str,
    form: &'static str,
) -> Result<Option<T>, Refusal> {
    let read = |json| {
        serde_json::from_str(json).map_err(|_| Refusal::bad_field(name, format!("`{name}` must be {form}")))
    };
    given(field).map(read).transpose()
}

/// Reads a field that must be there.
///
/// # Errors
/// `bad_request` with the field's name.
pub fn required<T: DeserializeOwned>(
    field: Option<&RawValue>,
    name: &'static str,
    form: &'static str,
) -> Result<T, Refusal> {
    optional(field, name, form)?.ok_or_else(|| Refusal::bad_field(name, format!("`{name}` is missing")))
}

impl<'a> Fields<'a> {
    /// The trace that the command belongs to. What is malformed is as good as none.
    #[must_use]
    pub fn trace(&self) -> Option<TraceContext> {
        TraceContext::parse(serde_json::from_str(self.traceparent?.get()).ok()?)
    }

    /// Reads a JSON object.
    ///
    /// # Errors
    /// `bad_request` when the text is not one JSON object, or names a known field twice.
    pub fn parse(text: &'a str) -> Result<Self, Refusal> {
        // A struct would also be read from an array; the contract says object.
        if !text.trim_start().starts_with('{') {
            return Err(Refusal::new(crate::error::ErrorCode::BadRequest, "expected one JSON object"));
        }
        serde_json::from_str(text).map_err(|error| {
            Refusal::new(crate::error::ErrorCode::BadRequest, format!("not a JSON object: {error}"))
        })
    }

    /// # Errors
    /// `bad_request` with the field's name.
    pub fn room(&self) -> Result<RoomId, Refusal> {
        required(self.room, "room", "a room id")
    }

    /// # Errors
    /// `bad_request` with the field's name.
    pub fn client_id(&self) -> Result<Option<ClientId>, Refusal> {
        optional(self.client_id, "client_id", "1 to 64 printable ASCII characters")
    }

    /// # Errors
    /// `bad_request` with the field's name.
    pub fn seq(&self) -> Result<Seq, Refusal> {
        required(self.seq, "seq", "a position (integer from 0 on)")
    }

    /// The object's own JSON text, unchanged, when it is an object of at most `max_bytes`.
    ///
    /// # Errors
    /// `bad_request` or `too_large` with the field's name.
    pub fn object(
        field: Option<&RawValue>,
        name: &'static str,
        max_bytes: usize,
    ) -> Result<Option<Box<RawValue>>, Refusal> {
        let Some(json) = given(field) else { return Ok(None) };
        if json.len() > max_bytes {
            let message = format!("`{name}` is over {max_bytes} bytes");
            return Err(Refusal::new(crate::error::ErrorCode::TooLarge, message).with_field(name));
        }
        within_depth(json, name)?;
        let object: serde_json::Map<String, serde_json::Value> = required(field, name, "an object")?;
        // PostgreSQL keeps the text as it is, but could not give back a NUL inside it.
        if object.iter().any(|(key, value)| key.contains('\0') || holds_nul(value)) {
            return Err(Refusal::bad_field(name, format!("`{name}` must not hold U+0000")));
        }
        Ok(field.map(ToOwned::to_owned))
    }
}

/// Refuses JSON of a client's own, passed on as it is, that is nested so deep that a receiver's parser gives up.
///
/// # Errors
/// `bad_request` with the field's name.
pub fn within_depth(json: &str, name: &'static str) -> Result<(), Refusal> {
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => depth += 1,
            b']' | b'}' if !quoted => depth -= 1,
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(Refusal::bad_field(name, format!("`{name}` is nested more than {MAX_DEPTH} deep")));
        }
    }
    Ok(())
}

/// Refuses JSON that is passed on as it is and that some receivers' parsers do not read, though its form is right: half
/// of a surrogate pair, a number beyond all measure.
///
/// # Errors
/// `bad_request` with the field's name.
pub fn readable(json: &str, name: &'static str) -> Result<(), Refusal> {
    match serde_json::from_str::<serde_json::Value>(json) {
        Ok(_) => Ok(()),
        Err(_) => Err(Refusal::bad_field(name, format!("`{name}` holds what not every parser reads"))),
    }
}

fn holds_nul(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::String(text) => text.contains('\0'),
        serde_json::Value::Array(values) => values.iter().any(holds_nul),
        serde_json::Value::Object(fields) => {
            fields.iter().any(|(key, value)| key.contains('\0') || holds_nul(value))
        }
        _ => false,
    }
}

/// A user id list with an upper bound.
///
/// # Errors
/// `bad_request` or `too_large` with the field's name.
pub fn bounded<T>(list: Vec<T>, name: &'static str, max: usize) -> Result<Vec<T>, Refusal> {
    if list.len() > max {
        let message = format!("`{name}` holds more than {max} entries");
        return Err(Refusal::new(crate::error::ErrorCode::TooLarge, message).with_field(name));
    }
    Ok(list)
}

/// The users and roles of `visible_to`; either may be left out.
#[derive(Debug, Default, Deserialize)]
pub struct VisibleTo {
    pub users: Option<Vec<UserId>>,
    pub roles: Option<Vec<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_nested_as_deep_as_its_brackets_outside_of_strings_open() {
        let lists = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let objects = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
        for shallow in [lists(100), objects(100), format!("[{}]", "[],{},".repeat(500) + "1")] {
            assert!(within_depth(&shallow, "data").is_ok(), "{shallow}");
        }
        let quoted = format!(r#"{{"{brackets}":"\"{brackets}\\"}}"#, brackets = "[{".repeat(100));
        assert!(
            serde_json::from_str::<serde_json::Value>(&quoted).is_ok()
                && within_depth(&quoted, "data").is_ok()
        );
        for deep in [lists(101), objects(101), lists(8_000), quoted + &lists(101)] {
            assert_eq!(within_depth(&deep, "data").unwrap_err().field.as_deref(), Some("data"), "{deep}");
        }
    }
}
