//! Checks the claims of a token, and reads the user's identity from the claims. Does no I/O.

use serde_json::{Map, Value};

use super::{ADMIN_SCOPE, FEED_SCOPE, Identity, Reason};
use crate::{grapheme::floor_boundary, ids::UserId, limits::MAX_PERSON_TEXT_CHARS};

/// The end of the year 9999, the last year that RFC 3339 can express.
const LAST_RFC3339_SECOND: i64 = 253_402_300_799;

/// The accepted values of claims, and the names of the claims with the user's data.
#[derive(Debug, Clone)]
pub struct ClaimRules {
    /// The accepted values of `iss`. If the list is empty, `iss` is not checked.
    pub issuers: Vec<String>,
    /// The accepted values of `aud`. The claim must contain one of them. If the list is empty, `aud` is not checked.
    pub audiences: Vec<String>,
    /// Tolerance for `exp` and `nbf`, in seconds.
    pub leeway_s: u64,
    /// The longest time from `iat` to `exp`, in seconds. `None` if there is no limit.
    pub max_life_s: Option<u64>,
    /// Name of the claim with the user id, such as `sub`, or `user.id` for a claim inside an object.
    pub user: String,
    /// Name of the claim with the user's name.
    pub name: String,
    /// Name of the claim with the URL of the user's picture.
    pub picture: String,
    /// Name of the claim with the scopes.
    pub scope: String,
}

impl Default for ClaimRules {
    fn default() -> Self {
        Self {
            issuers: Vec::new(),
            audiences: Vec::new(),
            leeway_s: 0,
            max_life_s: None,
            user: "sub".to_owned(),
            name: "name".to_owned(),
            picture: "picture".to_owned(),
            scope: "scope".to_owned(),
        }
    }
}

impl ClaimRules {
    /// Checks the claims of a token whose signature is already verified, and returns the identity in them. `now_s` is
    /// the present time in seconds since the Unix epoch.
    pub(super) fn identity(&self, claims: &Map<String, Value>, now_s: i64) -> Result<Identity, Reason> {
        let leeway_s = i64::try_from(self.leeway_s).unwrap_or(i64::MAX);
        let exp = claims.get("exp").and_then(claim_seconds).ok_or(Reason::Claims)?;
        // A later time is in milliseconds or wrong. Such a token would never expire.
        if exp > LAST_RFC3339_SECOND || !self.is_short_enough(claims, exp, now_s) {
            return Err(Reason::Claims);
        }
        // A connection may stay open as long as its token is accepted, which is until `exp` plus the leeway.
        let expires_at_s = exp.saturating_add(leeway_s).min(LAST_RFC3339_SECOND);
        if now_s >= expires_at_s {
            return Err(Reason::Expired);
        }
        if let Some(nbf) = claims.get("nbf")
            && now_s < claim_seconds(nbf).ok_or(Reason::Claims)?.saturating_sub(leeway_s)
        {
            return Err(Reason::NotYetValid);
        }
        if !self.is_meant_for_us(claims) {
            return Err(Reason::Claims);
        }
        let user = match find_claim(claims, &self.user) {
            Some(Value::String(text)) => UserId::parse(text),
            // Fractions and inexact large numbers are refused, because rounding could give the id of another user.
            Some(Value::Number(number)) if !number.is_f64() => UserId::parse(&number.to_string()),
            _ => return Err(Reason::Claims),
        };
        Ok(Identity {
            user: user.map_err(|_| Reason::Claims)?,
            name: claim_text(claims, &self.name),
            picture: claim_text(claims, &self.picture),
            expires_at_s,
            admin: self.has_scope(claims, ADMIN_SCOPE),
            feed: self.has_scope(claims, FEED_SCOPE),
        })
    }

    /// Whether the token's life is within [`ClaimRules::max_life_s`]. The life of a token without a valid `iat` begins
    /// now.
    fn is_short_enough(&self, claims: &Map<String, Value>, exp: i64, now_s: i64) -> bool {
        let issued_at_s = claims.get("iat").and_then(claim_seconds).unwrap_or(now_s);
        self.max_life_s.is_none_or(|most| exp <= issued_at_s.saturating_add_unsigned(most))
    }

    fn has_scope(&self, claims: &Map<String, Value>, wanted: &str) -> bool {
        match find_claim(claims, &self.scope) {
            Some(Value::String(scopes)) => scopes.split(' ').any(|scope| scope == wanted),
            Some(Value::Array(scopes)) => scopes.iter().any(|scope| scope == wanted),
            _ => false,
        }
    }

    /// Whether issuer and audience of the token are accepted ones (RFC 7519, 4.1.1 and 4.1.3).
    fn is_meant_for_us(&self, claims: &Map<String, Value>) -> bool {
        let is_of =
            |all: &[String], one: &Value| one.as_str().is_some_and(|one| all.iter().any(|it| it == one));
        let issuer = claims.get("iss").is_some_and(|issuer| is_of(&self.issuers, issuer));
        let audience = match claims.get("aud") {
            Some(Value::Array(all)) => all.iter().any(|one| is_of(&self.audiences, one)),
            Some(one) => is_of(&self.audiences, one),
            None => false,
        };
        (self.issuers.is_empty() || issuer) && (self.audiences.is_empty() || audience)
    }
}

/// Converts a time claim to seconds since the Unix epoch, without fractions. Returns `None` if it is not a number or is
/// negative.
fn claim_seconds(value: &Value) -> Option<i64> {
    #[allow(clippy::cast_possible_truncation, reason = "far beyond any date")]
    let seconds = value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64))?;
    (seconds >= 0).then_some(seconds)
}

/// Finds the claim with exactly this name. If there is none, `name` is used as a dotted path to a claim inside objects.
/// The exact name is tried first, because names such as `https://example.com/id` contain dots too.
fn find_claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| {
        let (first, rest) = name.split_once('.')?;
        find_claim(claims.get(first)?.as_object()?, rest)
    })
}

/// Returns the text of a claim without control characters, cut to the maximum length between two visible characters, or
/// `None` if nothing is left.
fn claim_text(claims: &Map<String, Value>, name: &str) -> Option<String> {
    let text = find_claim(claims, name)?.as_str()?;
    let mut kept: String = text.chars().filter(|c| !c.is_control()).collect();
    if let Some((limit, _)) = kept.char_indices().nth(MAX_PERSON_TEXT_CHARS) {
        kept.truncate(floor_boundary(&kept, limit));
    }
    (!kept.is_empty()).then_some(kept)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn user(claim: &str, claims: Value) -> Option<String> {
        let rules = ClaimRules { user: claim.to_owned(), ..ClaimRules::default() };
        let identity = rules.identity(claims.as_object().unwrap(), 0);
        identity.ok().map(|identity| identity.user.as_str().to_owned())
    }

    #[test]
    fn user_id_comes_only_from_the_configured_claim() {
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
    fn exp_in_milliseconds_and_life_above_the_maximum_are_refused() {
        let now_s = 1_800_000_000;
        let check = |max_life_s, claims: Value| {
            let rules = ClaimRules { max_life_s, ..ClaimRules::default() };
            rules.identity(claims.as_object().unwrap(), now_s).map(|identity| identity.expires_at_s)
        };
        let hour = now_s + 3600;
        assert_eq!(check(None, json!({"sub": "a", "exp": hour * 1000})), Err(Reason::Claims));
        assert_eq!(check(None, json!({"sub": "a", "exp": LAST_RFC3339_SECOND})), Ok(LAST_RFC3339_SECOND));
        assert_eq!(check(Some(3600), json!({"sub": "a", "exp": hour})), Ok(hour));
        assert_eq!(check(Some(3599), json!({"sub": "a", "exp": hour})), Err(Reason::Claims));
        assert_eq!(check(Some(4200), json!({"sub": "a", "exp": hour, "iat": now_s - 600})), Ok(hour));
        assert_eq!(
            check(Some(4199), json!({"sub": "a", "exp": hour, "iat": now_s - 600})),
            Err(Reason::Claims)
        );
    }

    #[test]
    fn name_picture_and_scope_come_from_the_configured_claims() {
        let rules = ClaimRules {
            name: "profile.nick".into(),
            picture: "avatar".into(),
            scope: "permissions".into(),
            ..ClaimRules::default()
        };
        let claims = json!({
            "sub": "a", "exp": 1, "profile": {"nick": "Al\u{7}"}, "avatar": "p".repeat(600),
            "permissions": ["x", "tidings.admin"], "name": "no", "scope": "no",
        });
        let identity = rules.identity(claims.as_object().unwrap(), 0).unwrap();
        assert_eq!(identity.name.as_deref(), Some("Al"));
        assert_eq!(identity.picture.map(|picture| picture.len()), Some(MAX_PERSON_TEXT_CHARS));
        assert!(identity.admin && !identity.feed);
        let long = format!("{}e\u{301}👍🏽z", "n".repeat(MAX_PERSON_TEXT_CHARS - 3));
        let claims = json!({"sub": "a", "exp": 1, "profile": {"nick": long}});
        let name = rules.identity(claims.as_object().unwrap(), 0).unwrap().name.unwrap();
        assert!(name.ends_with("ne\u{301}"), "the cut is before the emoji, not within it: {name}");
        let claims =
            json!({"sub": "a", "exp": 1, "scope": "tidings.admin", "permissions": "tidings.administrator"});
        assert!(!rules.identity(claims.as_object().unwrap(), 0).unwrap().admin);
        let claims = json!({"sub": "a", "exp": 1, "permissions": "x tidings.feed"});
        let identity = rules.identity(claims.as_object().unwrap(), 0).unwrap();
        assert!(identity.feed && !identity.admin);
    }
}
