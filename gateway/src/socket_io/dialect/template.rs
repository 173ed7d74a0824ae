//! Templates of a dialect: values of the file in which a text such as `$content` stands for a value of an event or
//! frame, and `${user.name}` inside a text for its characters. Pure.

use serde_json::{Map, Value};

use super::document::{DialectError, TomlContent, TomlNode};

/// The values that references can name. Each root of a reference is a number (an argument of the event, counted from
/// 1), `each`, `me`, `auth`, or a field of the frame.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub arguments: &'a [Value],
    pub frame: Option<&'a Value>,
    pub each: Option<&'a Value>,
    pub me: Option<&'a Value>,
    pub auth: Option<&'a Value>,
}

impl<'a> Scope<'a> {
    fn root(&self, name: &str) -> Option<&'a Value> {
        match name {
            "each" => self.each,
            "me" => self.me,
            "auth" => self.auth,
            _ => match name.parse::<usize>() {
                Ok(number) => self.arguments.get(number.checked_sub(1)?),
                Err(_) => self.frame?.get(name),
            },
        }
    }

    /// The value at a path, such as `sender.name` or `rooms.0.room`.
    pub fn value_at(&self, path: &[String]) -> Option<&'a Value> {
        let (root, rest) = path.split_first()?;
        rest.iter().try_fold(self.root(root)?, |value, name| match value {
            Value::Array(items) => items.get(name.parse::<usize>().ok()?),
            value => value.get(name.as_str()),
        })
    }
}

/// The names of one or more values, of which the first that is there counts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reference {
    alternatives: Vec<Vec<String>>,
}

impl Reference {
    /// Parses the text of a reference behind its dollar sign, such as `a.b|c`.
    fn parse(text: &str) -> Result<Self, String> {
        let is_name = |name: &str| {
            !name.is_empty() && name.chars().all(|letter| letter.is_alphanumeric() || "_-:".contains(letter))
        };
        let alternatives: Vec<Vec<String>> =
            text.split('|').map(|path| path.split('.').map(ToOwned::to_owned).collect()).collect();
        if alternatives.iter().flatten().all(|name| is_name(name)) {
            return Ok(Self { alternatives });
        }
        Err(format!("`${text}` is no reference: write `$name`, `$name.field` or `$name|other`"))
    }

    fn roots(&self) -> impl Iterator<Item = &str> {
        self.alternatives.iter().filter_map(|path| path.first().map(String::as_str))
    }

    /// The first value that is there and not `null`, else `null` if it is there.
    pub fn evaluate(&self, scope: &Scope<'_>) -> Option<Value> {
        let values = || self.alternatives.iter().filter_map(|path| scope.value_at(path));
        values().find(|value| !value.is_null()).or_else(|| values().next()).cloned()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TextPart {
    Literal(String),
    Reference(Reference),
}

/// A value of the file with its references.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Template {
    Literal(Value),
    Reference(Reference),
    Text(Vec<TextPart>),
    Array(Vec<Template>),
    Object(Vec<(String, Template)>),
}

impl Template {
    /// Reads a value of the file. `is_root` says which roots a reference may have here.
    pub fn read(node: &TomlNode, is_root: &dyn Fn(&str) -> bool, errors: &mut Vec<DialectError>) -> Self {
        match &node.content {
            TomlContent::Array(items) => {
                Self::Array(items.iter().map(|item| Self::read(item, is_root, errors)).collect())
            }
            TomlContent::Table(entries) => {
                let entries = entries.iter();
                Self::Object(
                    entries
                        .map(|entry| (entry.key.clone(), Self::read(&entry.value, is_root, errors)))
                        .collect(),
                )
            }
            TomlContent::Scalar(Value::String(text)) => {
                let parsed = Self::parse_text(text).and_then(|template| template.check_roots(is_root));
                parsed.unwrap_or_else(|message| {
                    errors.push(DialectError { line: node.line, message });
                    Self::Literal(Value::Null)
                })
            }
            TomlContent::Scalar(value) => Self::Literal(value.clone()),
        }
    }

    fn parse_text(text: &str) -> Result<Self, String> {
        if let Some(reference) = text.strip_prefix('$')
            && !reference.starts_with(['$', '{'])
        {
            return Reference::parse(reference).map(Self::Reference);
        }
        let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);
        while let Some((before, after)) = rest.split_once('$') {
            literal.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                literal.push('$');
                rest = after;
            } else if let Some((inside, after)) =
                after.strip_prefix('{').and_then(|rest| rest.split_once('}'))
            {
                parts.push(TextPart::Literal(std::mem::take(&mut literal)));
                parts.push(TextPart::Reference(Reference::parse(inside)?));
                rest = after;
            } else {
                return Err(
                    "write `$$` for a dollar sign, and `${name}` for a value inside a text".to_owned()
                );
            }
        }
        literal.push_str(rest);
        if parts.is_empty() {
            return Ok(Self::Literal(Value::String(literal)));
        }
        parts.push(TextPart::Literal(literal));
        Ok(Self::Text(parts))
    }

    fn check_roots(self, is_root: &dyn Fn(&str) -> bool) -> Result<Self, String> {
        let references: Vec<&Reference> = match &self {
            Self::Reference(reference) => vec![reference],
            Self::Text(parts) => parts
                .iter()
                .filter_map(|part| match part {
                    TextPart::Reference(reference) => Some(reference),
                    TextPart::Literal(_) => None,
                })
                .collect(),
            _ => Vec::new(),
        };
        let unknown: Option<String> = references
            .iter()
            .flat_map(|reference| reference.roots())
            .find(|root| !is_root(root))
            .map(ToOwned::to_owned);
        match unknown {
            Some(unknown) => Err(format!("`${unknown}` is not known here")),
            None => Ok(self),
        }
    }

    /// The value. Fields of objects whose value is not there are left out; items of arrays become `null`.
    pub fn evaluate(&self, scope: &Scope<'_>) -> Option<Value> {
        match self {
            Self::Literal(value) => Some(value.clone()),
            Self::Reference(reference) => reference.evaluate(scope),
            Self::Text(parts) => evaluate_text(parts, scope).map(Value::String),
            Self::Array(items) => Some(Value::Array(evaluate_items(items, scope))),
            Self::Object(entries) => {
                let field = |(key, template): &(String, Self)| Some((key.clone(), template.evaluate(scope)?));
                Some(Value::Object(entries.iter().filter_map(field).collect::<Map<_, _>>()))
            }
        }
    }
}

/// The values of templates, with `null` for each that is not there.
pub(super) fn evaluate_items(items: &[Template], scope: &Scope<'_>) -> Vec<Value> {
    items.iter().map(|item| item.evaluate(scope).unwrap_or_default()).collect()
}

/// The text, or nothing if one of its values is not there or `null`.
fn evaluate_text(parts: &[TextPart], scope: &Scope<'_>) -> Option<String> {
    let mut text = String::new();
    for part in parts {
        match part {
            TextPart::Literal(literal) => text.push_str(literal),
            TextPart::Reference(reference) => match reference.evaluate(scope)? {
                Value::Null => return None,
                Value::String(value) => text.push_str(&value),
                value => text.push_str(&value.to_string()),
            },
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn evaluate(text: &str, scope: &Scope<'_>) -> Option<Value> {
        Template::parse_text(text).unwrap().evaluate(scope)
    }

    #[test]
    fn reference_names_arguments_and_fields() {
        let frame = json!({ "sender": { "id": "ann", "name": null }, "rooms": [{ "room": "a" }], "seq": 7 });
        let arguments = [json!({ "text": "hi" }), json!(5)];
        let scope = Scope { arguments: &arguments, frame: Some(&frame), ..Scope::default() };
        for (text, expected) in [
            ("$1.text", json!("hi")),
            ("$2", json!(5)),
            ("$seq", json!(7)),
            ("$rooms.0.room", json!("a")),
            ("$sender.name|sender.id", json!("ann")),
            ("$sender.name", Value::Null),
            ("${seq}", json!("7")),
            ("$${seq} costs ${2}$$", json!("${seq} costs 5$")),
            ("plain", json!("plain")),
        ] {
            assert_eq!(evaluate(text, &scope), Some(expected), "{text}");
        }
        for absent in ["$3", "$0", "$1.other", "$other", "by ${sender.name}", "$me"] {
            assert_eq!(evaluate(absent, &scope), None, "{absent}");
        }
    }

    #[test]
    fn object_leaves_out_absent_fields_and_array_keeps_places() {
        let absent = || Template::parse_text("$nothing").unwrap();
        let object =
            Template::Object(vec![("a".into(), absent()), ("b".into(), Template::Literal(json!(1)))]);
        assert_eq!(object.evaluate(&Scope::default()), Some(json!({ "b": 1 })));
        let array = Template::Array(vec![absent(), Template::Literal(json!(1))]);
        assert_eq!(array.evaluate(&Scope::default()), Some(json!([null, 1])));
    }

    #[test]
    fn text_that_is_no_template_is_refused() {
        for text in ["$", "$a..b", "$a b", "costs 5$", "${a", "x ${} y", "$a|"] {
            assert!(Template::parse_text(text).is_err(), "{text}");
        }
    }
}
