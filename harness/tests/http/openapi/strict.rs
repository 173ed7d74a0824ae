//! The strict form of the document, used to check answers: clients may not rely on fields that the document does not
//! name, so an answer with such a field is a fault of the document.

use std::collections::BTreeSet;

use serde_json::{Value, json};

const SCHEMA_PREFIX: &str = "#/components/schemas/";

/// Returns the document with schemas of answers that forbid undocumented fields.
pub fn to_strict(mut document: Value) -> Value {
    let mut asked = BTreeSet::new();
    let mut answered = BTreeSet::new();
    for (_, operation) in operations(&document) {
        collect_schema_names(&operation["requestBody"], &document, &mut asked);
        collect_schema_names(&operation["responses"], &document, &mut answered);
    }
    for name in answered.difference(&asked) {
        forbid_unknown_fields(&mut document["components"]["schemas"][name]);
    }
    let paths = document["paths"].as_object_mut().into_iter().flat_map(|paths| paths.values_mut());
    for operation in paths.filter_map(Value::as_object_mut).flat_map(|item| item.values_mut()) {
        forbid_unknown_fields(&mut operation["responses"]);
    }
    document
}

/// All operations, with names like `GET /v1/rooms`.
pub fn operations(document: &Value) -> impl Iterator<Item = (String, &Value)> {
    let items = document["paths"].as_object().into_iter().flatten();
    items.filter_map(|(path, item)| Some((path, item.as_object()?))).flat_map(|(path, item)| {
        item.iter().map(move |(method, operation)| (format!("{} {path}", method.to_uppercase()), operation))
    })
}

/// Collects the schemas that `from` refers to, directly or through others.
fn collect_schema_names(from: &Value, document: &Value, found: &mut BTreeSet<String>) {
    match from {
        Value::Object(fields) => {
            if let Some(name) =
                fields.get("$ref").and_then(Value::as_str).and_then(|at| at.strip_prefix(SCHEMA_PREFIX))
                && found.insert(name.to_owned())
            {
                collect_schema_names(&document["components"]["schemas"][name], document, found);
            }
            fields.values().for_each(|value| collect_schema_names(value, document, found));
        }
        Value::Array(values) => values.iter().for_each(|value| collect_schema_names(value, document, found)),
        _ => {}
    }
}

/// Forbids undocumented fields in every schema below that refers to schemas or combines them. A schema that is declared
/// open stays open.
fn forbid_unknown_fields(schema: &mut Value) {
    forbid_unknown_fields_below(schema);
    if let Value::Object(fields) = schema
        && ["$ref", "allOf", "anyOf", "oneOf"].iter().any(|key| fields.contains_key(*key))
    {
        fields.insert("unevaluatedProperties".to_owned(), json!(false));
    }
}

fn forbid_unknown_fields_below(schema: &mut Value) {
    match schema {
        Value::Object(fields) => fields.iter_mut().for_each(|(key, value)| match value {
            // A part of `allOf` does not name all fields, so it stays open itself.
            Value::Array(parts) if key == "allOf" => parts.iter_mut().for_each(forbid_unknown_fields_below),
            value => forbid_unknown_fields(value),
        }),
        Value::Array(values) => values.iter_mut().for_each(forbid_unknown_fields),
        _ => {}
    }
}
