//! Checks that a value has all fields that its schema in the OpenAPI document requires, and no unknown ones.
//! `openapi.rs` checks the real answers against the document.

use serde_json::Value;

pub struct Document(pub Value);

impl Document {
    /// The points in which a value breaks the schema of this name.
    pub fn violations(&self, name: &str, value: &Value) -> Vec<String> {
        let schema = &self.0["components"]["schemas"][name];
        assert!(schema.is_object(), "there is no schema {name}");
        let mut violations = Vec::new();
        self.check_schema(name, schema, value, &mut violations);
        violations
    }

    fn check_schema(&self, place: &str, schema: &Value, value: &Value, violations: &mut Vec<String>) {
        if let Some(name) = schema["$ref"].as_str().and_then(|at| at.strip_prefix("#/components/schemas/")) {
            return self.check_schema(place, &self.0["components"]["schemas"][name], value, violations);
        }
        if let Some(one_of) = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array()) {
            let tries = one_of.iter().map(|schema| {
                let mut violations = Vec::new();
                self.check_schema(place, schema, value, &mut violations);
                violations
            });
            // Reports only the alternative with the fewest violations, because it is the most informative.
            violations.extend(tries.min_by_key(Vec::len).unwrap_or_default());
            return;
        }
        if !is_of_type(&schema["type"], value) {
            violations.push(format!("{place} is {value}, not {}", schema["type"]));
        }
        if let (Some(only), Some(text)) = (schema["enum"].as_array(), value.as_str())
            && !only.iter().any(|one| one == text)
        {
            violations.push(format!("{place} is {text}"));
        }
        if schema["const"].is_string() && schema["const"] != *value {
            violations.push(format!("{place} is {value}, not {}", schema["const"]));
        }
        for (number, item) in value.as_array().into_iter().flatten().enumerate() {
            self.check_schema(&format!("{place}[{number}]"), &schema["items"], item, violations);
        }
        if let Some(fields) = value.as_object() {
            self.check_fields(place, schema, fields, violations);
        }
    }

    fn check_fields(
        &self,
        place: &str,
        schema: &Value,
        fields: &serde_json::Map<String, Value>,
        violations: &mut Vec<String>,
    ) {
        let (mut named, mut required) = (serde_json::Map::new(), Vec::new());
        self.collect_fields(schema, &mut named, &mut required);
        if named.is_empty() {
            return;
        }
        let missing = required.iter().filter(|name| !fields.contains_key(**name));
        violations.extend(missing.map(|name| format!("{place} lacks {name}")));
        for (name, value) in fields {
            match named.get(name) {
                Some(schema) => self.check_schema(&format!("{place}.{name}"), schema, value, violations),
                None => violations.push(format!("{place} has the unknown field {name}")),
            }
        }
    }

    /// The fields of a schema and of its parts.
    fn collect_fields<'a>(
        &'a self,
        schema: &'a Value,
        named: &mut serde_json::Map<String, Value>,
        required: &mut Vec<&'a str>,
    ) {
        if let Some(name) = schema["$ref"].as_str().and_then(|at| at.strip_prefix("#/components/schemas/")) {
            self.collect_fields(&self.0["components"]["schemas"][name], named, required);
        }
        named.extend(schema["properties"].as_object().cloned().unwrap_or_default());
        required.extend(schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str));
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.collect_fields(part, named, required);
        }
    }
}

/// Whether a value has one of the named types; true if no type is named.
fn is_of_type(types: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str() {
        Some("null") => value.is_null(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => true,
    };
    types.as_array().map_or_else(|| is(types), |types| types.iter().any(is))
}
