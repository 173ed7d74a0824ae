//! The fields of a command before their types are checked: one borrowed JSON text for each field of the protocol. A
//! wrong type is reported with the name of the field. Unknown fields are ignored.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    error::{ErrorCode, Refusal},
    ids::{ClientId, RoomId, Seq, UserId},
    telemetry::TraceContext,
};

/// Deepest nesting of JSON from clients. Some parsers fail at 128 levels, and frames and pages add a few levels.
const MAX_DEPTH: i32 = 100;

macro_rules! fields {
    ($($name:ident = $wire:literal),* $(,)?) => {
        /// The fields of a client frame, or of the body of the equivalent HTTP request, which has the same field names.
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
    mentions = "mentions",
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

fn given(field: Option<&RawValue>) -> Option<&str> {
    field.map(RawValue::get).filter(|json| *json != "null")
}

/// Parses an optional field; `null` counts as absent. The error contains the field's `name` and expected `form`.
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

/// Parses a required field; `null` counts as absent. The error contains the field's `name` and expected `form`.
pub fn required<T: DeserializeOwned>(
    field: Option<&RawValue>,
    name: &'static str,
    form: &'static str,
) -> Result<T, Refusal> {
    optional(field, name, form)?.ok_or_else(|| Refusal::bad_field(name, format!("`{name}` is missing")))
}

/// Parses the fields of a JSON object. Refuses a text that is not one JSON object or contains a field of `T` twice.
pub fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Refusal> {
    // serde would also accept an array for a struct, but the protocol requires an object.
    if !text.trim_start().starts_with('{') {
        return Err(Refusal::new(ErrorCode::BadRequest, "expected one JSON object"));
    }
    serde_json::from_str(text)
        .map_err(|error| Refusal::new(ErrorCode::BadRequest, format!("not a JSON object: {error}")))
}

impl<'a> Fields<'a> {
    /// The trace context of the command. A malformed context is ignored.
    pub fn trace(&self) -> Option<TraceContext> {
        TraceContext::parse(serde_json::from_str(self.traceparent?.get()).ok()?)
    }

    /// Parses the fields of one JSON object, as [`object`] does.
    pub fn parse(text: &'a str) -> Result<Self, Refusal> {
        object(text)
    }

    /// The field `room`. Refused if it is missing or not a room id.
    pub fn room(&self) -> Result<RoomId, Refusal> {
        required(self.room, "room", "a room id")
    }

    /// The field `client_id`, or `None` if it is missing or null. Refused if it is not a client id.
    pub fn client_id(&self) -> Result<Option<ClientId>, Refusal> {
        optional(self.client_id, "client_id", "1 to 64 printable ASCII characters")
    }

    /// The field `seq`. Refused if it is missing or not a position.
    pub fn seq(&self) -> Result<Seq, Refusal> {
        required(self.seq, "seq", "a position (integer from 0 on)")
    }

    /// Returns the unchanged JSON text of an optional field. The field must be an object of at most `max_bytes`.
    pub fn object(
        field: Option<&RawValue>,
        name: &'static str,
        max_bytes: usize,
    ) -> Result<Option<Box<RawValue>>, Refusal> {
        let Some(json) = given(field) else { return Ok(None) };
        if json.len() > max_bytes {
            return Err(Refusal::too_large(name, format!("`{name}` is over {max_bytes} bytes")));
        }
        check_depth(json, name)?;
        // PostgreSQL stores the text unchanged, but cannot return a string from it that contains U+0000.
        if holds_nul(&serde_json::Value::Object(required(field, name, "an object")?)) {
            return Err(Refusal::bad_field(name, format!("`{name}` must not contain U+0000")));
        }
        Ok(field.map(ToOwned::to_owned))
    }
}

/// Refuses JSON with more than 100 levels, because receivers get it unchanged and their parsers could fail.
pub fn check_depth(json: &str, name: &'static str) -> Result<(), Refusal> {
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

/// Refuses well-formed JSON that some parsers reject, such as half a surrogate pair or a very large number, because
/// receivers get the JSON unchanged.
pub fn check_readable(json: &str, name: &'static str) -> Result<(), Refusal> {
    let refusal = |_| Refusal::bad_field(name, format!("`{name}` contains JSON that some parsers reject"));
    serde_json::from_str::<serde_json::Value>(json).map(drop).map_err(refusal)
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

/// Returns a list of at most `max` entries, and refuses a longer one.
pub fn bounded<T>(list: Vec<T>, name: &'static str, max: usize) -> Result<Vec<T>, Refusal> {
    if list.len() > max {
        return Err(Refusal::too_large(name, format!("`{name}` has more than {max} entries")));
    }
    Ok(list)
}

/// The users and roles of `visible_to`; either may be absent.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = SendVisibleTo))]
pub struct VisibleTo {
    #[cfg_attr(feature = "openapi", schema(max_items = 100))]
    pub users: Option<Vec<UserId>>,
    #[cfg_attr(feature = "openapi", schema(max_items = 100, value_type = Option<Vec<crate::openapi::LabelForm>>))]
    pub roles: Option<Vec<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        let lists = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let objects = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
        for shallow in [lists(100), objects(100), format!("[{}]", "[],{},".repeat(500) + "1")] {
            assert!(check_depth(&shallow, "data").is_ok(), "{shallow}");
        }
        let quoted = format!(r#"{{"{brackets}":"\"{brackets}\\"}}"#, brackets = "[{".repeat(100));
        assert!(
            serde_json::from_str::<serde_json::Value>(&quoted).is_ok()
                && check_depth(&quoted, "data").is_ok()
        );
        for deep in [lists(101), objects(101), lists(8_000), quoted + &lists(101)] {
            assert_eq!(check_depth(&deep, "data").unwrap_err().field.as_deref(), Some("data"), "{deep}");
        }
    }
}
