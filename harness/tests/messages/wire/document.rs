//! The OpenAPI document, as far as it says which fields there are: whether something has all that must be there, and
//! nothing that is not named. That the answers are as the document says is proved by `openapi.rs`.

use serde_json::Value;

pub struct Document(pub Value);

impl Document {
    /// What is wrong with this value, as a value of the schema of this name.
    pub fn complaints(&self, name: &str, value: &Value) -> Vec<String> {
        let schema = &self.0["components"]["schemas"][name];
        assert!(schema.is_object(), "there is no schema {name}");
        let mut complaints = Vec::new();
        self.look(name, schema, value, &mut complaints);
        complaints
    }

    fn look(&self, place: &str, schema: &Value, value: &Value, complaints: &mut Vec<String>) {
        if let Some(name) = schema["$ref"].as_str().and_then(|at| at.strip_prefix("#/components/schemas/")) {
            return self.look(place, &self.0["components"]["schemas"][name], value, complaints);
        }
        if let Some(one_of) = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array()) {
            let tries = one_of.iter().map(|schema| {
                let mut complaints = Vec::new();
                self.look(place, schema, value, &mut complaints);
                complaints
            });
            // That which fits best tells best what is wrong.
            complaints.extend(tries.min_by_key(Vec::len).unwrap_or_default());
            return;
        }
        if !is_of(&schema["type"], value) {
            complaints.push(format!("{place} is {value}, not {}", schema["type"]));
        }
        if let (Some(only), Some(text)) = (schema["enum"].as_array(), value.as_str())
            && !only.iter().any(|one| one == text)
        {
            complaints.push(format!("{place} is {text}"));
        }
        if schema["const"].is_string() && schema["const"] != *value {
            complaints.push(format!("{place} is {value}, not {}", schema["const"]));
        }
        for (number, item) in value.as_array().into_iter().flatten().enumerate() {
            self.look(&format!("{place}[{number}]"), &schema["items"], item, complaints);
        }
        if let Some(fields) = value.as_object() {
            self.look_into(place, schema, fields, complaints);
        }
    }

    fn look_into(
        &self,
        place: &str,
        schema: &Value,
        fields: &serde_json::Map<String, Value>,
        complaints: &mut Vec<String>,
    ) {
        let (mut named, mut must) = (serde_json::Map::new(), Vec::new());
        self.gather(schema, &mut named, &mut must);
        if named.is_empty() {
            return;
        }
        let lacking = must.iter().filter(|name| !fields.contains_key(**name));
        complaints.extend(lacking.map(|name| format!("{place} lacks {name}")));
        for (name, value) in fields {
            match named.get(name) {
                Some(schema) => self.look(&format!("{place}.{name}"), schema, value, complaints),
                None => complaints.push(format!("{place} has {name}, which no answer has")),
            }
        }
    }

    /// The fields of a schema and of those that it is made of.
    fn gather<'a>(
        &'a self,
        schema: &'a Value,
        named: &mut serde_json::Map<String, Value>,
        must: &mut Vec<&'a str>,
    ) {
        if let Some(name) = schema["$ref"].as_str().and_then(|at| at.strip_prefix("#/components/schemas/")) {
            self.gather(&self.0["components"]["schemas"][name], named, must);
        }
        named.extend(schema["properties"].as_object().cloned().unwrap_or_default());
        must.extend(schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str));
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.gather(part, named, must);
        }
    }
}

/// Whether a value is of one of the types that are named; of any, where none is.
fn is_of(types: &Value, value: &Value) -> bool {
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
