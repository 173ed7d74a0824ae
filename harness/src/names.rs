//! Names of users in a system that many tests share. A test says `alice`, and on the wire the user is `alice.01f3a9c2e`:
//! clients add the suffix of their test to outgoing user ids, and remove it from everything that they receive. The
//! token of a client carries the suffix, so a client needs only its token. Pure. A token without a suffix, as every test
//! with its own system has, changes nothing.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::token::Token;

/// The claim with the suffix. The services ignore it.
const SUFFIX_CLAIM: &str = "test_suffix";
/// Fields of commands and bodies with one user id.
const USER_FIELDS: [&str; 2] = ["user", "to"];
/// Fields of commands and bodies with a list of user ids.
const USER_LIST_FIELDS: [&str; 2] = ["users", "mentions"];
/// Fields whose content belongs to the test and stays as it is.
const OPAQUE_FIELDS: [&str; 3] = ["content", "data", "metadata"];
/// In a path, a user id follows these segments.
const USER_SEGMENTS: [&str; 2] = ["members", "users"];

/// Translates the names of one test. The default translates nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserNames {
    suffix: Option<Arc<str>>,
}

impl UserNames {
    /// Creates names with a new suffix. The suffix begins with ".0", which sorts before letters and digits, so wire ids
    /// sort like alphanumeric names. Names with "-" may sort differently.
    pub fn unique() -> UserNames {
        UserNames { suffix: Some(format!(".0{:08x}", rand::random::<u32>()).into()) }
    }

    /// The names of the test that signed this token.
    pub fn of_token(token: &str) -> UserNames {
        let claims = || {
            let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
            let claims: Value = serde_json::from_slice(&payload).ok()?;
            Some(claims[SUFFIX_CLAIM].as_str()?.into())
        };
        UserNames { suffix: claims() }
    }

    /// Whether translation changes nothing, because there is no suffix.
    pub fn is_identity(&self) -> bool {
        self.suffix.is_none()
    }

    /// The token with the suffix in its user, and as a claim for the client.
    #[must_use]
    pub fn add_to(&self, token: Token) -> Token {
        let Some(suffix) = &self.suffix else { return token };
        let user = token.claims().get("sub").and_then(Value::as_str).map(|user| self.user_to_wire(user));
        let token = match user {
            Some(user) => token.claim("sub", json!(user)),
            None => token,
        };
        token.claim(SUFFIX_CLAIM, json!(&**suffix))
    }

    /// The id on the wire of a user. Ids that the services must refuse stay invalid.
    pub fn user_to_wire(&self, user: &str) -> String {
        match &self.suffix {
            Some(suffix) if !matches!(user, "" | "." | "..") => format!("{user}{suffix}"),
            _ => user.to_owned(),
        }
    }

    /// An outgoing frame or body. A text that names no user stays as it is, byte for byte.
    pub fn text_to_wire<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.is_identity() {
            return Cow::Borrowed(text);
        }
        let Ok(mut value) = serde_json::from_str(text) else { return Cow::Borrowed(text) };
        if self.value_to_wire(&mut value) { Cow::Owned(value.to_string()) } else { Cow::Borrowed(text) }
    }

    /// Translates outgoing JSON. Returns whether anything changed.
    pub fn value_to_wire(&self, value: &mut Value) -> bool {
        if self.is_identity() {
            return false;
        }
        let mut changed = false;
        match value {
            Value::Array(items) => {
                for item in items {
                    changed |= self.value_to_wire(item);
                }
            }
            Value::Object(fields) => {
                for (name, field) in fields {
                    changed |= self.field_to_wire(name, field);
                }
            }
            _ => {}
        }
        changed
    }

    fn field_to_wire(&self, name: &str, field: &mut Value) -> bool {
        match field {
            _ if OPAQUE_FIELDS.contains(&name) => false,
            Value::String(user) if USER_FIELDS.contains(&name) => self.replace(user),
            Value::Array(users) if USER_LIST_FIELDS.contains(&name) => {
                let mut changed = false;
                for user in users {
                    changed |= match user {
                        Value::String(user) => self.replace(user),
                        other => self.value_to_wire(other),
                    };
                }
                changed
            }
            other => self.value_to_wire(other),
        }
    }

    fn replace(&self, user: &mut String) -> bool {
        let wire = self.user_to_wire(user);
        let changed = wire != *user;
        *user = wire;
        changed
    }

    /// An outgoing path with its query.
    pub fn path_to_wire<'a>(&self, path: &'a str) -> Cow<'a, str> {
        if self.is_identity() {
            return Cow::Borrowed(path);
        }
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let mut follows = false;
        let segments = path.split('/').map(|segment| {
            let is_user = std::mem::replace(&mut follows, USER_SEGMENTS.contains(&segment));
            if is_user { self.user_to_wire(segment) } else { segment.to_owned() }
        });
        let mut wire = segments.collect::<Vec<_>>().join("/");
        if let Some(query) = query {
            let parameters = query.split('&').map(|parameter| match parameter.strip_prefix("user=") {
                Some(user) => format!("user={}", self.user_to_wire(user)),
                None => parameter.to_owned(),
            });
            wire = format!("{wire}?{}", parameters.collect::<Vec<_>>().join("&"));
        }
        Cow::Owned(wire)
    }

    /// A received text.
    pub fn text_from_wire(&self, text: String) -> String {
        match &self.suffix {
            Some(suffix) if text.contains(&**suffix) => text.replace(&**suffix, ""),
            _ => text,
        }
    }

    /// Received bytes of UTF-8.
    pub fn bytes_from_wire<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        if self.is_identity() {
            return Cow::Borrowed(bytes);
        }
        match String::from_utf8(bytes.to_vec()) {
            Ok(text) => Cow::Owned(self.text_from_wire(text).into_bytes()),
            Err(_) => Cow::Borrowed(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> UserNames {
        UserNames { suffix: Some(".0t".into()) }
    }

    #[test]
    fn token_carries_suffix_and_translated_user() {
        let token = names().add_to(Token::of("alice"));
        assert_eq!(token.claims()["sub"], "alice.0t");
        assert_eq!(UserNames::of_token(&token.sign("secret")), names());
        assert_eq!(UserNames::of_token(&Token::of("alice").sign("secret")), UserNames::default());
        assert_eq!(UserNames::of_token("no token"), UserNames::default());
    }

    #[test]
    fn fields_with_users_get_suffix_and_opaque_fields_stay() {
        let mut frame = json!({
            "type": "message:send", "content": "to bob", "to": "bob", "mentions": ["bob", 7, ""],
            "visible_to": {"users": ["carol"], "roles": ["member"]}, "metadata": {"user": "kept"}, "data": {"to": "kept"},
            "members": [{"user": "dan", "role": "guest"}]
        });
        assert!(names().value_to_wire(&mut frame));
        let expected = json!({
            "type": "message:send", "content": "to bob", "to": "bob.0t", "mentions": ["bob.0t", 7, ""],
            "visible_to": {"users": ["carol.0t"], "roles": ["member"]}, "metadata": {"user": "kept"},
            "data": {"to": "kept"}, "members": [{"user": "dan.0t", "role": "guest"}]
        });
        assert_eq!(frame, expected);
    }

    #[test]
    fn text_without_users_stays_byte_for_byte() {
        for text in ["{\"b\": 1.50,  \"a\":2}", "no JSON", "[[[", r#"{"metadata":{"user":"x"}}"#] {
            assert!(matches!(names().text_to_wire(text), Cow::Borrowed(same) if same == text));
        }
        assert_eq!(names().text_to_wire(r#"{"to":"bob"}"#), r#"{"to":"bob.0t"}"#);
    }

    #[test]
    fn path_and_query_get_suffix_after_users_only() {
        for (path, wire) in [
            ("/rooms/r/members/bob", "/rooms/r/members/bob.0t"),
            ("/rooms/r/members?limit=2", "/rooms/r/members?limit=2"),
            ("/users/z%C3%BC", "/users/z%C3%BC.0t"),
            ("/presence?user=a&user=b", "/presence?user=a.0t&user=b.0t"),
            ("/me/people?query=al", "/me/people?query=al"),
        ] {
            assert_eq!(names().path_to_wire(path), wire);
        }
    }

    #[test]
    fn received_text_loses_suffix_of_its_own_test_only() {
        let text = r#"{"user":"alice.0t","by":"bob.0u"}"#.to_owned();
        assert_eq!(names().text_from_wire(text.clone()), r#"{"user":"alice","by":"bob.0u"}"#);
        assert_eq!(names().bytes_from_wire(b"\xff.0t").as_ref(), b"\xff.0t");
        assert_eq!(UserNames::default().text_from_wire(text.clone()), text);
    }

    #[test]
    fn wire_ids_of_alphanumeric_names_sort_as_names() {
        let sorted = ["a", "a2", "al", "alice", "b"];
        let mut wire = sorted.map(|name| UserNames::unique().user_to_wire(name));
        wire.sort_unstable();
        assert!(wire.iter().zip(sorted).all(|(id, name)| id.split('.').next() == Some(name)), "{wire:?}");
    }
}
