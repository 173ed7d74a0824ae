//! The strict form of the document, used to check answers: clients may not rely on fields that the document does not
//! name, so an answer with such a field is a fault of the document.

use std::collections::BTreeSet;

use serde_json::{Value, json};

const PREFIX: &str = "#/components/schemas/";

/// Forbids every undocumented field in the schemas of answers.
pub fn strict(mut document: Value) -> Value {
    let mut asked = BTreeSet::new();
    let mut answered = BTreeSet::new();
    for (_, operation) in operations(&document) {
        names(&operation["requestBody"], &document, &mut asked);
        names(&operation["responses"], &document, &mut answered);
    }
    for name in answered.difference(&asked) {
        close(&mut document["components"]["schemas"][name]);
    }
    let paths = document["paths"].as_object_mut().into_iter().flat_map(|paths| paths.values_mut());
    for operation in paths.filter_map(Value::as_object_mut).flat_map(|item| item.values_mut()) {
        close(&mut operation["responses"]);
    }
    document
}

/// All operations, as `GET /v1/rooms`.
pub fn operations(document: &Value) -> impl Iterator<Item = (String, &Value)> {
    let items = document["paths"].as_object().into_iter().flatten();
    items.filter_map(|(path, item)| Some((path, item.as_object()?))).flat_map(|(path, item)| {
        item.iter().map(move |(method, operation)| (format!("{} {path}", method.to_uppercase()), operation))
    })
}

/// Collects the schemas that `from` refers to, directly or through others.
fn names(from: &Value, document: &Value, found: &mut BTreeSet<String>) {
    match from {
        Value::Object(fields) => {
            if let Some(name) =
                fields.get("$ref").and_then(Value::as_str).and_then(|at| at.strip_prefix(PREFIX))
                && found.insert(name.to_owned())
            {
                names(&document["components"]["schemas"][name], document, found);
            }
            fields.values().for_each(|value| names(value, document, found));
        }
        Value::Array(values) => values.iter().for_each(|value| names(value, document, found)),
        _ => {}
    }
}

/// Closes every schema below that refers to schemas or combines them. A schema that is declared open stays open.
fn close(schema: &mut Value) {
    close_below(schema);
    if let Value::Object(fields) = schema
        && ["$ref", "allOf", "anyOf", "oneOf"].iter().any(|key| fields.contains_key(*key))
    {
        fields.insert("unevaluatedProperties".to_owned(), json!(false));
    }
}

fn close_below(schema: &mut Value) {
    match schema {
        Value::Object(fields) => fields.iter_mut().for_each(|(key, value)| match value {
            // A part of `allOf` does not name all fields.
            Value::Array(parts) if key == "allOf" => parts.iter_mut().for_each(close_below),
            value => close(value),
        }),
        Value::Array(values) => values.iter_mut().for_each(close),
        _ => {}
    }
}
