//! Reads the TOML of a dialect into a tree that keeps the line of each key and value, so that every error names its
//! line. Pure.

use serde_json::{Number, Value};
use toml::{
    Spanned,
    de::{DeFloat, DeInteger, DeString, DeTable, DeValue},
};

/// Why a file is no dialect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct DialectError {
    pub line: usize,
    pub message: String,
}

/// A value of the file.
#[derive(Debug, Clone)]
pub(super) struct TomlNode {
    pub line: usize,
    pub content: TomlContent,
}

#[derive(Debug, Clone)]
pub(super) enum TomlContent {
    /// A text, number or boolean. A date becomes a text.
    Scalar(Value),
    Array(Vec<TomlNode>),
    Table(Vec<TomlEntry>),
}

/// A key of a table, and its value.
#[derive(Debug, Clone)]
pub(super) struct TomlEntry {
    pub line: usize,
    pub key: String,
    pub value: TomlNode,
}

impl TomlNode {
    /// The text, if the value is one.
    pub fn as_text(&self) -> Option<&str> {
        match &self.content {
            TomlContent::Scalar(value) => value.as_str(),
            _ => None,
        }
    }

    /// The values of an array, or this value alone.
    pub fn items(&self) -> &[TomlNode] {
        match &self.content {
            TomlContent::Array(items) => items,
            _ => std::slice::from_ref(self),
        }
    }
}

/// Reads a file. The result is a table.
pub(super) fn read_document(text: &str) -> Result<TomlNode, DialectError> {
    match DeTable::parse(text) {
        Ok(document) => {
            Ok(TomlNode { line: 1, content: TomlContent::Table(read_table(text, document.get_ref())) })
        }
        Err(error) => {
            let start = error.span().map_or(0, |span| span.start);
            Err(DialectError { line: line_at(text, start), message: error.message().to_owned() })
        }
    }
}

/// The number of the line that contains this byte, counted from 1.
fn line_at(text: &str, start: usize) -> usize {
    text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1
}

fn read_table(text: &str, table: &DeTable<'_>) -> Vec<TomlEntry> {
    table.iter().map(|(key, value)| read_entry(text, key, value)).collect()
}

fn read_entry(text: &str, key: &Spanned<DeString<'_>>, value: &Spanned<DeValue<'_>>) -> TomlEntry {
    TomlEntry {
        line: line_at(text, key.span().start),
        key: key.get_ref().clone().into_owned(),
        value: read_value(text, value),
    }
}

fn read_value(text: &str, value: &Spanned<DeValue<'_>>) -> TomlNode {
    let content = match value.get_ref() {
        DeValue::String(value) => TomlContent::Scalar(Value::String(value.clone().into_owned())),
        DeValue::Integer(value) => TomlContent::Scalar(read_integer(value)),
        DeValue::Float(value) => TomlContent::Scalar(read_float(value)),
        DeValue::Boolean(value) => TomlContent::Scalar(Value::Bool(*value)),
        DeValue::Datetime(value) => TomlContent::Scalar(Value::String(value.to_string())),
        DeValue::Array(items) => {
            TomlContent::Array(items.iter().map(|item| read_value(text, item)).collect())
        }
        DeValue::Table(table) => TomlContent::Table(read_table(text, table)),
    };
    TomlNode { line: line_at(text, value.span().start), content }
}

/// An integer beyond 64 bits becomes a text.
fn read_integer(value: &DeInteger<'_>) -> Value {
    let number = i64::from_str_radix(value.as_str(), value.radix());
    number.map_or_else(|_| Value::String(value.as_str().to_owned()), Value::from)
}

/// A float that JSON cannot express becomes a text.
fn read_float(value: &DeFloat<'_>) -> Value {
    let number = value.as_str().parse().ok().and_then(Number::from_f64);
    number.map_or_else(|| Value::String(value.as_str().to_owned()), Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_know_their_lines() {
        let document = read_document("a = 1\n\n[[b]]\nc = [\n  \"x\",\n  { d = true },\n]\n").unwrap();
        let TomlContent::Table(entries) = &document.content else { panic!("{document:?}") };
        assert_eq!((entries[0].key.as_str(), entries[0].line), ("a", 1));
        let TomlContent::Table(of_b) = &entries[1].value.items()[0].content else { panic!("{document:?}") };
        let items = of_b[0].value.items();
        assert_eq!((of_b[0].key.as_str(), of_b[0].line, items.len()), ("c", 4, 2));
        assert_eq!((items[0].as_text(), items[0].line, items[1].line), (Some("x"), 5, 6));
    }

    #[test]
    fn text_that_is_no_toml_is_refused_with_its_line() {
        assert_eq!(read_document("a = 1\nb = = 2\n").unwrap_err().line, 2);
        assert_eq!(read_document("a = 1\na = 2\n").unwrap_err().line, 2);
    }
}
