//! What is asked of a token's claims, and who they say it is. Pure.

use jsonwebtoken::{Algorithm, Validation};
use serde_json::{Map, Value};

use super::{ADMIN_SCOPE, Identity, Reason};
use crate::ids::UserId;

/// Longest name and picture address taken from claims, characters; longer ones are cut off.
const MAX_CLAIM_CHARS: usize = 512;

/// Which claims are looked at, and what they must be.
#[derive(Debug, Clone)]
pub struct Rules {
    /// One of these in `iss`; empty: not looked at.
    pub issuers: Vec<String>,
    /// One of these in `aud`; empty: not looked at.
    pub audiences: Vec<String>,
    /// Seconds that `exp` and `nbf` may be off.
    pub leeway_s: u64,
    pub user: String,
    pub name: String,
    pub picture: String,
    pub scope: String,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            issuers: Vec::new(),
            audiences: Vec::new(),
            leeway_s: 0,
            user: "sub".to_owned(),
            name: "name".to_owned(),
            picture: "picture".to_owned(),
            scope: "scope".to_owned(),
        }
    }
}

impl Rules {
    /// What the library checks, for a key of these algorithms.
    pub(super) fn validation(&self, algorithms: Vec<Algorithm>) -> Validation {
        let mut validation = Validation::default();
        validation.algorithms = algorithms;
        validation.leeway = self.leeway_s;
        validation.validate_nbf = true;
        let mut required = vec!["exp"];
        if !self.issuers.is_empty() {
            validation.set_issuer(&self.issuers);
            required.push("iss");
        }
        validation.validate_aud = !self.audiences.is_empty();
        if validation.validate_aud {
            validation.set_audience(&self.audiences);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        validation
    }

    /// Who the claims of a token that verified stand for.
    pub(super) fn identity(&self, claims: &Map<String, Value>) -> Result<Identity, Reason> {
        if !self.issuers.is_empty() && !claims.get("iss").is_some_and(Value::is_string) {
            // The library takes a list of issuers as well, which no standard knows.
            return Err(Reason::Claims);
        }
        let user = match find(claims, &self.user) {
            Some(Value::String(text)) => UserId::parse(text),
            // A fraction, or a number too large to be read exactly, could be taken for somebody else's.
            Some(Value::Number(number)) if !number.is_f64() => UserId::parse(&number.to_string()),
            _ => return Err(Reason::Claims),
        };
        let user = user.map_err(|_| Reason::Claims)?;
        let exp = claims.get("exp").ok_or(Reason::Claims)?;
        #[allow(clippy::cast_possible_truncation)] // far beyond any date
        let exp = exp.as_i64().or_else(|| exp.as_f64().map(|exp| exp as i64)).ok_or(Reason::Claims)?;
        Ok(Identity {
            user,
            name: text(claims, &self.name),
            picture: text(claims, &self.picture),
            // Until then the token is taken, so a connection that it opened lasts as long.
            expires_at_s: exp.saturating_add(i64::try_from(self.leeway_s).unwrap_or(i64::MAX)),
            admin: match find(claims, &self.scope) {
                Some(Value::String(scopes)) => scopes.split(' ').any(|scope| scope == ADMIN_SCOPE),
                Some(Value::Array(scopes)) => scopes.iter().any(|scope| scope == ADMIN_SCOPE),
                _ => false,
            },
        })
    }
}

/// A claim of this very name, else the one at the end of the dotted path: names such as `https://example.com/id`
/// hold dots as well.
fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| {
        let (first, rest) = name.split_once('.')?;
        find(claims.get(first)?.as_object()?, rest)
    })
}

fn text(claims: &Map<String, Value>, name: &str) -> Option<String> {
    let text = find(claims, name)?.as_str()?;
    let kept: String = text.chars().filter(|c| !c.is_control()).take(MAX_CLAIM_CHARS).collect();
    (!kept.is_empty()).then_some(kept)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn user(claim: &str, claims: Value) -> Option<String> {
        let rules = Rules { user: claim.to_owned(), ..Rules::default() };
        let identity = rules.identity(claims.as_object().unwrap());
        identity.ok().map(|identity| identity.user.as_str().to_owned())
    }

    #[test]
    fn the_user_id_is_where_the_setting_says_and_nowhere_else() {
        let claims = json!({
            "exp": 1, "sub": "a", "userId": 7, "user.id": "dotted", "user": {"id": "nested", "deep": {"er": 9}},
            "https://example.com/id": "namespaced", "half": 1.5, "large": 18_446_744_073_709_551_616_f64,
        });
        for (claim, found) in [
            ("sub", Some("a")),
            ("userId", Some("7")),
            ("user.id", Some("dotted")),
            ("user.deep.er", Some("9")),
            ("https://example.com/id", Some("namespaced")),
            ("user", None),
            ("user.none", None),
            ("sub.x", None),
            ("user_id", None),
            ("half", None),
            ("large", None),
        ] {
            assert_eq!(user(claim, claims.clone()).as_deref(), found, "{claim}");
        }
    }

    #[test]
    fn name_picture_and_scope_are_taken_from_the_claims_that_are_told() {
        let rules = Rules {
            name: "profile.nick".into(),
            picture: "avatar".into(),
            scope: "permissions".into(),
            ..Rules::default()
        };
        let claims = json!({
            "sub": "a", "exp": 1, "profile": {"nick": "Al\u{7}"}, "avatar": "p".repeat(600),
            "permissions": ["x", "tidings.admin"], "name": "no", "scope": "no",
        });
        let identity = rules.identity(claims.as_object().unwrap()).unwrap();
        assert_eq!(identity.name.as_deref(), Some("Al"));
        assert_eq!(identity.picture.map(|picture| picture.len()), Some(MAX_CLAIM_CHARS));
        assert!(identity.admin);
        let claims = json!({"sub": "a", "exp": 1, "scope": "tidings.admin", "permissions": "tidings.administrator"});
        assert!(!rules.identity(claims.as_object().unwrap()).unwrap().admin);
    }
}
