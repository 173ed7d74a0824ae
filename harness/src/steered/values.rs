//! Answers of Redis as JSON. Pure.

use redis::Value as Said;
use serde_json::{Map, Value};

/// Converts an answer; invalid UTF-8 is replaced.
pub(super) fn json(said: Said) -> Value {
    match said {
        Said::Nil => Value::Null,
        Said::Int(number) => number.into(),
        Said::Double(number) => number.into(),
        Said::Boolean(truth) => truth.into(),
        Said::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned().into(),
        Said::SimpleString(text) | Said::VerbatimString { text, .. } => text.into(),
        Said::Okay => "OK".into(),
        Said::Array(values) | Said::Set(values) => values.into_iter().map(json).collect(),
        Said::Map(pairs) => {
            let text = |key: Said| match json(key) {
                Value::String(key) => key,
                key => key.to_string(),
            };
            pairs.into_iter().map(|(key, value)| (text(key), json(value))).collect::<Map<_, _>>().into()
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
        let text = |text: &str| Said::BulkString(text.as_bytes().to_vec());
        let said =
            Said::Array(vec![text("a"), Said::Int(2), Said::Nil, Said::Map(vec![(text("k"), Said::Okay)])]);
        assert_eq!(json(said), value!(["a", 2, null, { "k": "OK" }]));
    }
}
