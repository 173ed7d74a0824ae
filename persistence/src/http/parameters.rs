//! Parses query strings and path segments into the arguments of the queries. Pure.
//! Every error names the invalid parameter. Unknown parameters are ignored.

use std::ops::RangeInclusive;

use actix_web::HttpRequest;
use actix_web::web;
use tidings_shared::ids::{RoomId, UserId};
use tidings_shared::limits::{DEFAULT_PAGE_ENTRIES, MAX_PAGE_ENTRIES, MAX_ROOM_NAME_CHARS, MAX_SEQ};

use super::problem::Problem;

/// The decoded parameters of a query string.
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Decodes the query string of a request. Refuses one that is malformed.
    pub fn from_request(request: &HttpRequest) -> Result<Self, Problem> {
        Self::parse(request.query_string())
    }

    pub(super) fn parse(query: &str) -> Result<Self, Problem> {
        web::Query::<Vec<(String, String)>>::from_query(query)
            .map(|pairs| Self(pairs.into_inner()))
            .map_err(|error| Problem::bad_field("query", format!("the query string is malformed: {error}")))
    }

    /// The text of a parameter; None if it is missing or empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(given, _)| given == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// All texts of a parameter that may be repeated, without empty ones.
    pub fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        let found = self.0.iter().filter(move |(given, _)| given == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Refuses an empty parameter, for requests that remove everything without it.
    pub fn refuse_empty(&self, name: &str) -> Result<(), Problem> {
        if self.0.iter().any(|(given, value)| given == name && value.is_empty()) {
            return Err(Problem::bad_field(name, format!("{name} must not be empty")));
        }
        Ok(())
    }

    /// A room id; None if it is missing or empty.
    pub fn room(&self, name: &str) -> Result<Option<RoomId>, Problem> {
        self.text(name).map(room).transpose()
    }

    /// A user id; None if it is missing or empty.
    pub fn user(&self, name: &str) -> Result<Option<UserId>, Problem> {
        let parse =
            |value: &str| UserId::parse(value).map_err(|error| Problem::bad_field(name, error.to_string()));
        self.text(name).map(parse).transpose()
    }

    /// A text to search for in room names; None if it is missing or empty.
    pub fn name_part(&self, name: &str) -> Result<Option<&str>, Problem> {
        let part = self.text(name);
        if part.is_some_and(|part| {
            part.chars().any(char::is_control) || part.chars().count() > MAX_ROOM_NAME_CHARS
        }) {
            let rule =
                format!("{name} must be up to {MAX_ROOM_NAME_CHARS} characters without control characters");
            return Err(Problem::bad_field(name, rule));
        }
        Ok(part)
    }

    /// Whether a parameter is `true`; false if it is missing or empty. Refuses other texts than `true` and `false`.
    pub fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Problem::bad_field(name, format!("{name} must be true or false"))),
        }
    }

    /// The seq that a parameter contains; None if it is missing or empty.
    pub fn seq(&self, name: &str) -> Result<Option<i64>, Problem> {
        self.text(name).map(|text| seq(name, text)).transpose()
    }

    /// The number of entries of a page, at most `MAX_PAGE_ENTRIES`; `DEFAULT_PAGE_ENTRIES` if omitted.
    pub fn limit(&self) -> Result<i64, Problem> {
        Ok(self.number("limit", 1..=MAX_PAGE_ENTRIES)?.unwrap_or(DEFAULT_PAGE_ENTRIES))
    }

    /// A number; None if it is missing or empty. A number above the range is reduced to its end.
    pub fn number(&self, name: &str, range: RangeInclusive<i64>) -> Result<Option<i64>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match parse_digits(text) {
            Some(number) if number >= *range.start() => Ok(Some(number.min(*range.end()))),
            _ => {
                let rule = format!("{name} must be a number from {} to {}", range.start(), range.end());
                Err(Problem::bad_field(name, rule))
            }
        }
    }

    /// The position after which a list continues. `unpack` accepts only cursors of this list.
    pub fn cursor<T>(&self, unpack: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Problem> {
        let refuse = || Problem::bad_field("cursor", "cursor must be a `next` of the same list");
        self.text("cursor").map(|text| unpack(text).ok_or_else(refuse)).transpose()
    }
}

/// Parses a seq from a parameter or a path segment. `name` is the parameter in a refusal.
pub fn seq(name: &str, text: &str) -> Result<i64, Problem> {
    parse_digits(text)
        .ok_or_else(|| Problem::bad_field(name, format!("{name} must be a position: 0, 1, 2 …")))
}

/// Parses digits into a number, clamped to [`MAX_SEQ`]. None for any other text.
fn parse_digits(text: &str) -> Option<i64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // The text has only digits, so parsing fails only if the number is too large.
    Some(text.parse().unwrap_or(MAX_SEQ).min(MAX_SEQ))
}

/// Parses a room id from a path.
pub fn room(text: &str) -> Result<RoomId, Problem> {
    RoomId::parse(text).map_err(|error| Problem::bad_field("room", error.to_string()))
}

/// Parses a user id from a path.
pub fn user(text: &str) -> Result<UserId, Problem> {
    UserId::parse(text).map_err(|error| Problem::bad_field("user", error.to_string()))
}

#[cfg(test)]
mod tests {
    use actix_web::ResponseError;

    use super::*;
    use crate::query::cursor::{ActivityCursor, pack_id, unpack_id};

    fn parameters(query: &str) -> Parameters {
        Parameters::parse(query).unwrap()
    }

    #[test]
    fn limit_defaults_to_50_and_is_capped_at_200() {
        for (query, limit) in [
            ("", 50),
            ("limit=", 50),
            ("limit=1", 1),
            ("limit=200", 200),
            ("limit=201", 200),
            ("limit=9999999999999999999999", 200),
        ] {
            assert_eq!(parameters(query).limit().unwrap(), limit, "{query}");
        }
        for bad in ["limit=0", "limit=-1", "limit=x", "limit=1.5", "limit=%2B1", "limit=1e2"] {
            assert_eq!(parameters(bad).limit().unwrap_err().status_code(), 400, "{bad}");
        }
    }

    #[test]
    fn flag_is_true_or_false() {
        for (query, value) in [("", false), ("on=", false), ("on=false", false), ("on=true", true)] {
            assert_eq!(parameters(query).flag("on").unwrap(), value, "{query}");
        }
        for bad in ["on=1", "on=True", "on=yes"] {
            assert_eq!(parameters(bad).flag("on").unwrap_err().status_code(), 400, "{bad}");
        }
    }

    #[test]
    fn position_is_digits_clamped_to_json_safe_range() {
        assert_eq!(parameters("after=41").seq("after").unwrap(), Some(41));
        assert_eq!(parameters("before=2").seq("after").unwrap(), None);
        assert_eq!(parameters("after=18446744073709551616").seq("after").unwrap(), Some(MAX_SEQ));
        for bad in ["after=-1", "after=a", "after=1%20", "after=%D9%A1"] {
            assert!(parameters(bad).seq("after").is_err(), "{bad}");
        }
    }

    #[test]
    fn empty_id_counts_as_absent_unless_refused() {
        let empty = parameters("room=&user=");
        assert_eq!(empty.room("room").unwrap(), None);
        assert_eq!(empty.user("user").unwrap(), None);
        assert_eq!(empty.refuse_empty("room").unwrap_err().status_code(), 400);
        for query in ["", "user=", "room=kitchen"] {
            assert!(parameters(query).refuse_empty("room").is_ok(), "{query}");
        }
        assert!(parameters("user=a%20b").user("user").is_err());
    }

    #[test]
    fn values_are_decoded_and_unknown_names_ignored() {
        let parameters = parameters("x=1&query=caf%C3%A9+bar&query=second&y");
        assert_eq!(parameters.text("query"), Some("café bar"));
    }

    #[test]
    fn cursor_of_another_list_is_refused() {
        let members = format!("cursor={}", pack_id("alice"));
        assert!(parameters(&members).cursor(ActivityCursor::unpack).is_err());
        assert_eq!(parameters(&members).cursor(unpack_id).unwrap().as_deref(), Some("alice"));
        assert!(parameters("cursor=%00").cursor(unpack_id).is_err());
    }
}
