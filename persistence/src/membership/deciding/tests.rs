//! Who may, as a table: each role against each wish.

use super::*;

const ROOMY: Bounds = Bounds { members_per_room: 100, rooms_per_user: 100 };
const NO_MEMBER: &str = "";

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn in_room(kind: &str, asker: &str, user: &str) -> Standing {
    let role = |role: &str| (role != NO_MEMBER).then(|| role.to_owned());
    Standing {
        kind: kind.to_owned(),
        member_count: 5,
        asker: role(asker),
        user: role(user),
        owners: 2,
        ..Standing::default()
    }
}

fn put(role: &str) -> Wish {
    Wish::Put(Some(role.to_owned()))
}

/// What becomes of a wish of alice's, in one word: the code of the refusal, `nothing`, or the role it leads to.
fn word(standing: &Standing, admin: bool, of: &str, wish: &Wish) -> String {
    let (alice, of) = (user("alice"), user(of));
    match decide(standing, Asker { user: &alice, admin }, &of, wish, ROOMY) {
        Err(refusal) => refusal.code.as_str().to_owned(),
        Ok(Decision::Nothing { .. }) => "nothing".to_owned(),
        Ok(Decision::Add(change)) => format!("+{}", change.role),
        Ok(Decision::Change(change)) => format!("={}", change.role),
        Ok(Decision::Remove(change)) => change.role,
    }
}

#[test]
fn each_role_may_change_the_membership_of_others_as_the_table_says() {
    // Role of bob before, wish; what becomes of it for a guest, member, custom role, admin, owner.
    let table: [(&str, Wish, [&str; 5]); 15] = [
        (NO_MEMBER, Wish::Put(None), ["forbidden", "forbidden", "forbidden", "+member", "+member"]),
        (NO_MEMBER, put("vip"), ["forbidden", "forbidden", "forbidden", "+vip", "+vip"]),
        (NO_MEMBER, put("admin"), ["forbidden", "forbidden", "forbidden", "+admin", "+admin"]),
        (NO_MEMBER, put("owner"), ["forbidden", "forbidden", "forbidden", "forbidden", "+owner"]),
        (NO_MEMBER, Wish::Remove, ["forbidden", "forbidden", "forbidden", "not_found", "not_found"]),
        ("member", Wish::Put(None), ["forbidden", "forbidden", "forbidden", "nothing", "nothing"]),
        ("member", put("member"), ["forbidden", "forbidden", "forbidden", "nothing", "nothing"]),
        ("member", put("guest"), ["forbidden", "forbidden", "forbidden", "=guest", "=guest"]),
        ("member", put("owner"), ["forbidden", "forbidden", "forbidden", "forbidden", "=owner"]),
        ("member", Wish::Remove, ["forbidden", "forbidden", "forbidden", "removed", "removed"]),
        ("admin", put("member"), ["forbidden", "forbidden", "forbidden", "=member", "=member"]),
        ("admin", Wish::Remove, ["forbidden", "forbidden", "forbidden", "removed", "removed"]),
        ("owner", Wish::Put(None), ["forbidden", "forbidden", "forbidden", "forbidden", "nothing"]),
        ("owner", put("member"), ["forbidden", "forbidden", "forbidden", "forbidden", "=member"]),
        ("owner", Wish::Remove, ["forbidden", "forbidden", "forbidden", "forbidden", "removed"]),
    ];
    for (before, wish, expected) in table {
        for (role, expected) in ["guest", "member", "vip", "admin", "owner"].into_iter().zip(expected) {
            for kind in ["private", "public"] {
                let standing = in_room(kind, role, before);
                assert_eq!(word(&standing, false, "bob", &wish), expected, "{role}: {before} {wish:?}");
                let archived = match expected {
                    "forbidden" | "nothing" => expected,
                    _ => "conflict",
                };
                let standing = Standing { archived: true, ..standing };
                assert_eq!(
                    word(&standing, false, "bob", &wish),
                    archived,
                    "archived, {role}: {before} {wish:?}"
                );
            }
            let direct = in_room("direct", role, before);
            assert_eq!(word(&direct, false, "bob", &wish), "forbidden", "direct, {role}: {before} {wish:?}");
        }
        // Whoever acts in any room may what owners may, in it or not.
        for role in [NO_MEMBER, "guest", "owner"] {
            let standing = in_room("private", role, before);
            assert_eq!(word(&standing, true, "bob", &wish), expected[4], "scope, {role}: {before} {wish:?}");
        }
        for (kind, code) in [("private", "not_found"), ("public", "not_found"), ("direct", "not_found")] {
            let standing = in_room(kind, NO_MEMBER, before);
            assert_eq!(word(&standing, false, "bob", &wish), code, "stranger, {kind}: {before} {wish:?}");
        }
    }
}

#[test]
fn of_oneself_one_may_join_what_is_public_step_down_and_leave() {
    let table: [(&str, &str, Wish, &str); 20] = [
        ("public", NO_MEMBER, Wish::Put(None), "+member"),
        ("public", NO_MEMBER, put("owner"), "+member"),
        ("private", NO_MEMBER, Wish::Put(None), "not_found"),
        ("direct", NO_MEMBER, Wish::Put(None), "not_found"),
        ("public", NO_MEMBER, Wish::Remove, "not_found"),
        ("public", "guest", Wish::Put(None), "nothing"),
        ("private", "member", put("member"), "nothing"),
        ("public", "owner", Wish::Put(None), "nothing"),
        ("public", "guest", put("member"), "forbidden"),
        ("private", "member", put("admin"), "forbidden"),
        ("private", "admin", put("owner"), "forbidden"),
        ("private", "admin", put("guest"), "=guest"),
        ("private", "member", put("guest"), "=guest"),
        ("public", "vip", put("guest"), "=guest"),
        ("private", "member", put("vip"), "forbidden"),
        ("private", "vip", put("member"), "forbidden"),
        ("private", "owner", put("admin"), "=admin"),
        ("private", "guest", Wish::Remove, "removed"),
        ("private", "owner", Wish::Remove, "removed"),
        ("direct", "member", Wish::Remove, "forbidden"),
    ];
    for (kind, role, wish, expected) in table {
        let standing = in_room(kind, role, role);
        assert_eq!(word(&standing, false, "alice", &wish), expected, "{kind}, {role}: {wish:?}");
    }
    let archived = Standing { archived: true, ..in_room("public", NO_MEMBER, NO_MEMBER) };
    assert_eq!(word(&archived, false, "alice", &Wish::Put(None)), "conflict");
    let scope = in_room("public", NO_MEMBER, NO_MEMBER);
    assert_eq!(word(&scope, true, "alice", &put("admin")), "+admin", "who acts as owner may choose");
}

#[test]
fn whoever_is_erased_is_added_and_given_a_role_by_nobody_and_may_go() {
    for admin in [false, true] {
        let gone = Standing { erased: true, ..in_room("private", "owner", NO_MEMBER) };
        assert_eq!(word(&gone, admin, "bob", &Wish::Put(None)), "not_found");
        let going = Standing { erased: true, ..in_room("private", "owner", "member") };
        assert_eq!(word(&going, admin, "bob", &put("owner")), "not_found");
        assert_eq!(word(&going, admin, "bob", &Wish::Remove), "removed");
    }
    let told_to_nobody_else = Standing { erased: true, ..in_room("private", "member", NO_MEMBER) };
    assert_eq!(word(&told_to_nobody_else, false, "bob", &put("member")), "forbidden");
}

#[test]
fn a_room_keeps_its_last_owner_whoever_asks() {
    let last = Standing { owners: 1, ..in_room("private", "owner", "owner") };
    for wish in [Wish::Remove, put("admin"), put("member")] {
        assert_eq!(word(&last, false, "alice", &wish), "conflict", "{wish:?}");
        assert_eq!(word(&last, true, "bob", &wish), "conflict", "{wish:?}");
    }
    assert_eq!(word(&last, false, "alice", &put("owner")), "nothing");
}

#[test]
fn only_what_touches_an_owner_hangs_on_all_memberships() {
    let hangs = |before: &str, wish: &Wish| {
        let alice = user("alice");
        let asker = Asker { user: &alice, admin: false };
        match decide(&in_room("private", "owner", before), asker, &user("bob"), wish, ROOMY).unwrap() {
            Decision::Nothing { .. } => None,
            Decision::Add(change) | Decision::Change(change) | Decision::Remove(change) => {
                Some((change.hangs_on_owners, change.minimum))
            }
        }
    };
    assert_eq!(hangs("owner", &Wish::Remove), Some((true, Minimum::Owner)));
    assert_eq!(hangs("owner", &put("admin")), Some((true, Minimum::Owner)));
    assert_eq!(hangs("admin", &put("owner")), Some((false, Minimum::Owner)));
    assert_eq!(hangs("member", &Wish::Remove), Some((false, Minimum::Admin)));
    assert_eq!(hangs(NO_MEMBER, &put("guest")), Some((false, Minimum::Admin)));
}

#[test]
fn nobody_comes_into_a_full_room_or_into_too_many() {
    let bounds = Bounds { members_per_room: 5, rooms_per_user: 3 };
    let alice = user("alice");
    let code = |standing: &Standing, wish: &Wish| {
        let asker = Asker { user: &alice, admin: true };
        decide(standing, asker, &user("bob"), wish, bounds).err().map(|refusal| refusal.code)
    };
    let full = in_room("private", "owner", NO_MEMBER);
    assert_eq!(code(&full, &Wish::Put(None)), Some(ErrorCode::TooLarge));
    assert_eq!(code(&in_room("private", "owner", "member"), &put("guest")), None, "who is in may change");
    let busy = Standing { member_count: 4, rooms: 3, ..full };
    assert_eq!(code(&busy, &Wish::Put(None)), Some(ErrorCode::TooLarge));
    assert_eq!(code(&Standing { rooms: 2, ..busy }, &Wish::Put(None)), None);
}
