//! Answers of Redis as JSON. Pure.

use redis::Value as RedisValue;
use serde_json::{Map, Value};

/// Converts an answer to JSON. Bytes that are not UTF-8 are replaced by U+FFFD.
pub(super) fn to_json(answer: RedisValue) -> Value {
    match answer {
        RedisValue::Nil => Value::Null,
        RedisValue::Int(number) => number.into(),
        RedisValue::Double(number) => number.into(),
        RedisValue::Boolean(truth) => truth.into(),
        RedisValue::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned().into(),
        RedisValue::SimpleString(text) | RedisValue::VerbatimString { text, .. } => text.into(),
        RedisValue::Okay => "OK".into(),
        RedisValue::Array(values) | RedisValue::Set(values) => values.into_iter().map(to_json).collect(),
        RedisValue::Map(pairs) => {
            let text = |key: RedisValue| match to_json(key) {
                Value::String(key) => key,
                key => key.to_string(),
            };
            pairs.into_iter().map(|(key, value)| (text(key), to_json(value))).collect::<Map<_, _>>().into()
        }
        other => format!("{other:?}").into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json as value;

    use super::*;

    #[test]
    fn lists_numbers_and_texts_keep_their_types() {
        let text = |text: &str| RedisValue::BulkString(text.as_bytes().to_vec());
        let answer = RedisValue::Array(vec![
            text("a"),
            RedisValue::Int(2),
            RedisValue::Nil,
            RedisValue::Map(vec![(text("k"), RedisValue::Okay)]),
        ]);
        assert_eq!(to_json(answer), value!(["a", 2, null, { "k": "OK" }]));
    }
}
