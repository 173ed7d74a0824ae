//! Finds the people who share a room with a viewer, by the beginning of a word of their names or of their ids. Never
//! reveals anybody else. Reads `members`, `rooms` and `users`.

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use serde::Serialize;
use tidings_shared::ids::{RoomId, UserId};
use tidings_shared::limits::MAX_PEOPLE;
use tokio::task::coop::consume_budget;
use utoipa::ToSchema;

use crate::search::fold::fold;
use crate::search::words::{Word, split_words};
use crate::sql::statement;

/// A person who shares a room with me.
#[derive(Debug, Serialize, ToSchema, FromQueryResult)]
pub struct Person {
    pub user: String,
    #[schema(required)]
    pub name: Option<String>,
    #[schema(required)]
    pub picture: Option<String>,
}

/// The people who were found, ordered by name.
#[derive(Debug, Serialize, ToSchema)]
pub struct People {
    pub people: Vec<Person>,
}

/// Maximum number of rooms, the most recently active ones, in which people are looked for.
const MAX_ROOMS: i64 = 1_000;
/// Maximum number of memberships whose names are compared, and of those found by their ids. Limited, because names are
/// not indexed. Ids are, so they are found in rooms of any size.
const MAX_NAMES: i64 = 5_000;
/// Maximum number of bytes of the names and addresses of pictures that one request reads. Ordinary ones have a hundred.
const MAX_NAME_BYTES: i64 = 4 << 20;
/// Maximum number of names that one of several rooms contributes, so that large rooms do not hide the others.
const MAX_NAMES_PER_ROOM: i64 = 500;

/// `$1`: user. `$2`: room or NULL. `$3` and `$4`: range of ids that begin with the query. `$5`: number of ids per room.
/// `$6`: number of names per room. `$7`: number of ids, and of names, in all. `$8`: number of rooms. `$9`: bytes of
/// names.
const PEOPLE_SQL: &str = "\
    WITH mine AS MATERIALIZED (SELECT mb.room_id FROM members mb JOIN rooms r ON r.id = mb.room_id \
      WHERE mb.user_id = $1 AND ($2::text IS NULL OR mb.room_id = $2) ORDER BY r.updated_at DESC, r.id LIMIT $8), \
    known AS MATERIALIZED ( \
      (SELECT i.user_id FROM mine CROSS JOIN LATERAL (SELECT m.user_id FROM members m WHERE m.room_id = mine.room_id \
        AND m.user_id >= $3 AND m.user_id < $4 ORDER BY m.user_id LIMIT $5) i LIMIT $7) \
      UNION (SELECT n.user_id FROM mine CROSS JOIN LATERAL (SELECT m.user_id FROM members m \
        WHERE m.room_id = mine.room_id ORDER BY m.user_id LIMIT $6) n LIMIT $7)) \
    SELECT p.* FROM (SELECT u.id AS \"user\", u.name, u.picture, \
        sum(COALESCE(octet_length(u.name), 0) + COALESCE(octet_length(u.picture), 0)) \
          OVER (ORDER BY u.id < $3 OR u.id >= $4, u.id ROWS UNBOUNDED PRECEDING) AS bytes \
      FROM known k JOIN users u ON u.id = k.user_id \
      WHERE u.id <> $1 AND NOT u.blocked AND u.erasing_at IS NULL) p WHERE p.bytes <= $9";

/// At most [`MAX_PEOPLE`] people whom the query finds, in `room` or in all rooms of the user. An empty query finds
/// everybody. The caller has checked that the user may see `room`.
pub async fn people(
    db: &impl ConnectionTrait,
    user: &UserId,
    room: Option<&RoomId>,
    query: &str,
) -> Result<Vec<Person>, DbErr> {
    let names_per_room = if room.is_some() { MAX_NAMES } else { MAX_NAMES_PER_ROOM };
    let values = [
        user.as_str().into(),
        room.map(RoomId::as_str).into(),
        query.into(),
        // Ids are compared byte by byte, and no character is above this one.
        format!("{query}{}", char::MAX).into(),
        i64::try_from(MAX_PEOPLE + 1).unwrap_or(i64::MAX).into(),
        names_per_room.into(),
        MAX_NAMES.into(),
        MAX_ROOMS.into(),
        MAX_NAME_BYTES.into(),
    ];
    let known = Person::find_by_statement(statement(PEOPLE_SQL, values)).all(db).await?;
    Ok(select_people(known, query).await)
}

/// The first [`MAX_PEOPLE`] of the people whom the query finds. The person whose id is the query is the very first, because
/// clients find the names of users by their ids, and the ids of many others may begin with this one. Yields to other
/// tasks after each 128 people, because long names need much time.
async fn select_people(known: Vec<Person>, query: &str) -> Vec<Person> {
    let words = split_words(query);
    let mut found = Vec::new();
    for person in known {
        if is_found(&person, query, &words) {
            found.push((person.user != query, sort_key(&person), person));
        }
        consume_budget().await;
    }
    found.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
    found.into_iter().take(MAX_PEOPLE).map(|(_, _, person)| person).collect()
}

/// Orders people by the folded name, so that Émile is beside Emile and before Fritz. People with equal folded names are
/// ordered by the name as it is written, then by id. Letters of different scripts are ordered by their code points.
fn sort_key(person: &Person) -> (String, String, String) {
    let name = person.name.as_ref().unwrap_or(&person.user);
    (fold(name), name.clone(), person.user.clone())
}

/// Whether the id begins with the query, or each word of the query begins a word of the name or the id.
fn is_found(person: &Person, query: &str, words: &[Word]) -> bool {
    if person.user.starts_with(query) {
        return true;
    }
    let mut own = split_words(&person.user);
    own.extend(person.name.as_deref().map(split_words).unwrap_or_default());
    !words.is_empty()
        && words.iter().all(|word| own.iter().any(|theirs| theirs.folded.starts_with(&word.folded)))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::search::fold::SAME;

    fn named(name: &str) -> Person {
        Person { user: "u-42".into(), name: Some(name.into()), picture: None }
    }

    #[test]
    fn names_are_found_in_any_form_of_their_letters() {
        for (one, other) in SAME {
            for (query, name) in [(one, other), (other, one)] {
                assert!(is_found(&named(name), query, &split_words(query)), "{query} in {name}");
            }
        }
    }

    #[test]
    fn people_are_ordered_by_folded_names() {
        let mut names =
            ["zoe", "Øystein", "Émile", "emil", "Fritz", "Łukasz", "Lukas", "Emile", "Ольга", "ölaf"];
        names.sort_by_cached_key(|name| sort_key(&named(name)));
        assert_eq!(
            names,
            ["emil", "Emile", "Émile", "Fritz", "Lukas", "Łukasz", "ölaf", "Øystein", "zoe", "Ольга"]
        );
    }

    #[tokio::test]
    async fn search_of_people_yields_to_other_tasks() {
        let known = || (0..1_000).map(|_| named("Zoë")).collect::<Vec<_>>();
        assert!(select_people(known(), "zoe").now_or_never().is_none());
        assert_eq!(select_people(known(), "zoe").await.len(), MAX_PEOPLE);
    }

    #[tokio::test]
    async fn person_with_the_queried_id_is_first_among_many() {
        let person = |id: usize| Person { user: id.to_string(), name: None, picture: None };
        let mut known: Vec<Person> = (100..200).map(person).collect();
        known.push(Person { name: Some("Zoe".into()), ..person(1) });
        let found = select_people(known, "1").await;
        assert_eq!((found.len(), found[0].user.as_str(), found[1].user.as_str()), (MAX_PEOPLE, "1", "100"));
    }

    #[test]
    fn query_finds_beginnings_of_words_of_name_and_id() {
        let person = named("Zoë Lang-Weiß");
        let finds = |query: &str| is_found(&person, query, &split_words(query));
        for query in ["", "z", "ZOE", "zoë l", "weiß", "lang zo", "u-", "U-4", "42"] {
            assert!(finds(query), "{query:?}");
        }
        for query in ["oe", "ang", "zoe x", "!", "2"] {
            assert!(!finds(query), "{query:?}");
        }
    }
}
