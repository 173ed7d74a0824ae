//! Tests of the keys and values of the membership cache.

use super::*;

#[test]
fn cached_membership_is_parsed() {
    let read = parse_membership("custom-role 42");
    assert_eq!(read, Some(Membership { role: "custom-role".into(), read_seq: Seq(42) }));
    assert_eq!(parse_membership("member"), None);
}

#[test]
fn cached_membership_of_other_room_epoch_is_a_miss() {
    assert!(is_valid_in(Epoch(7), Some("7")) && is_valid_in(Epoch(7), Some("12")));
    assert!(!is_valid_in(Epoch(8), Some("7")) && !is_valid_in(Epoch(12), Some("9")));
    assert!(!is_valid_in(Epoch(0), None) && !is_valid_in(Epoch(0), Some("x")));
}

#[test]
fn keys_of_one_user_have_one_hash_tag() {
    // Redis hashes only the text between the first `{` and the next `}`, unless this text is empty.
    let tag = |key: &str| {
        let (_, rest) = key.split_once('{')?;
        rest.split_once('}').map(|(tag, _)| tag.to_owned()).filter(|tag| !tag.is_empty())
    };
    for id in ["alice", "}", "}x", "a}b", "{", "{}", "}{a}"] {
        let user = UserId::parse(id).unwrap();
        for layout in [Layout::Single, Layout::Cluster] {
            let keys = [rooms_key, version_key, moves_key].map(|key| key(layout, &user));
            let tags = keys.map(|key| tag(&key));
            assert!(tags[0].is_some() && tags.iter().all(|tag| *tag == tags[0]), "{id}: {tags:?}");
            let account = (account_key(layout, &user), account_version_key(layout, &user));
            assert_eq!(tag(&account.0), tag(&account.1), "{id}");
        }
    }
}

#[test]
fn keys_of_a_single_redis_stay_those_of_earlier_versions() {
    let keys = |layout, id: &str| {
        let user = UserId::parse(id).unwrap();
        (rooms_key(layout, &user), version_key(layout, &user), account_version_key(layout, &user))
    };
    let owned = |keys: [&str; 3]| (keys[0].to_owned(), keys[1].to_owned(), keys[2].to_owned());
    let single = owned(["rooms:{a}b}", "rooms:{a}b}:v", "account:{a}b}:v"]);
    assert_eq!(keys(Layout::Single, "a}b"), single);
    let single = owned(["rooms:{\u{1f}}bob}", "rooms:{\u{1f}}bob}:v", "account:{\u{1f}}bob}:v"]);
    assert_eq!(keys(Layout::Single, "}bob"), single);
    let cluster = owned(["{07}:rooms:alice", "{07}:rooms:alice\u{1f}v", "{07}:account:alice\u{1f}v"]);
    assert_eq!(keys(Layout::Cluster, "alice"), cluster);
}
