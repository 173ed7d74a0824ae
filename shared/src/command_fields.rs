//! Reads JSON objects of clients: the fields of a frame, or of the body of the equivalent HTTP request. A refusal names
//! the field that is wrong. Unknown fields are ignored, and null counts as absent.

use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::value::RawValue;

use crate::error::{ErrorCode, Refusal};

/// Deepest nesting of JSON from clients. Some parsers fail at 128 levels, and frames and pages add a few levels.
const MAX_DEPTH: i32 = 100;
/// Longest description of a wrong value, because it may repeat the value.
const MAX_REASON_BYTES: usize = 300;

/// Parses one JSON object. Refuses a text that is not one JSON object, contains a field of `T` twice, or has a field
/// that does not fit `T`.
pub fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Refusal> {
    // serde would also accept an array for a struct, but the protocol requires an object.
    if !text.trim_start().starts_with('{') {
        return Err(Refusal::new(ErrorCode::BadRequest, "expected one JSON object"));
    }
    serde_json::from_str(text).map_err(|error| wrong_object::<T>(text, &error))
}

/// The refusal of a text that is not a valid `T`. Parses the text a second time to find the field, so that the parsing
/// of valid texts does not pay for this.
#[cold]
fn wrong_object<'a, T: Deserialize<'a>>(text: &'a str, error: &serde_json::Error) -> Refusal {
    // This reads no values. So half a surrogate pair, a very large number and deep nesting are errors of their fields.
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        return Refusal::new(ErrorCode::BadRequest, format!("not a JSON object: {error}"));
    }
    let mut reason = error.to_string();
    while reason.len() > MAX_REASON_BYTES {
        reason.pop();
    }
    let located =
        serde_path_to_error::deserialize::<_, T>(&mut serde_json::Deserializer::from_str(text)).err();
    let first = located.as_ref().and_then(|error| error.path().iter().next());
    let missing = || reason.strip_prefix("missing field `")?.split('`').next();
    let field = match first {
        Some(serde_path_to_error::Segment::Map { key }) => Some(key.as_str()),
        _ => missing(),
    };
    match field {
        Some(field) if reason.starts_with("missing field") && first.is_none() => {
            Refusal::bad_field(field, format!("`{field}` is missing"))
        }
        Some(field) => Refusal::bad_field(field, format!("`{field}` is wrong: {reason}")),
        None => Refusal::new(ErrorCode::BadRequest, reason),
    }
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

/// Returns the unchanged JSON text of an optional field. The field must be an object of at most `max_bytes`.
pub fn json_object(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::SeqForm;

    #[test]
    fn text_that_is_no_json_names_no_field() {
        for text in [r#"{"seq":"x""#, r#"{"seq":"x"} 1"#, r#"{"seq":"x","a":}"#, r#"["x"]"#] {
            assert_eq!(object::<SeqForm>(text).err().unwrap().field, None, "{text}");
        }
        assert_eq!(object::<SeqForm>(r#"{"seq":"x"}"#).err().unwrap().field.as_deref(), Some("seq"));
    }

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
