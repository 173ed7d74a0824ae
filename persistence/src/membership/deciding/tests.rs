//! Tests the decisions with tables: each role with each request.

use super::*;

const LARGE_LIMITS: MembershipLimits =
    MembershipLimits { members_per_room: 100, rooms_per_user: 100, rooms_by_others: 100 };
const NO_MEMBER: &str = "";

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn in_room(kind: &str, requester: &str, user: &str) -> MembershipContext {
    let role = |role: &str| (role != NO_MEMBER).then(|| role.to_owned());
    MembershipContext {
        kind: kind.to_owned(),
        member_count: 5,
        requester: role(requester),
        user: role(user),
        owners: 2,
        ..MembershipContext::default()
    }
}

fn put(role: &str) -> MembershipRequest {
    MembershipRequest::Put(Some(role.to_owned()))
}

/// The result of a request by alice, as one word: the code of the refusal, `nothing`, or the resulting role.
fn outcome_word(snapshot: &MembershipContext, admin: bool, of: &str, request: &MembershipRequest) -> String {
    let (alice, of) = (user("alice"), user(of));
    match decide(snapshot, Requester { user: &alice, admin }, &of, request, LARGE_LIMITS) {
        Err(refusal) => refusal.code.as_str().to_owned(),
        Ok(Decision::NoChange { .. }) => "nothing".to_owned(),
        Ok(Decision::Append(change)) => match change.kind {
            MEMBER_ADDED => format!("+{}", change.role),
            MEMBER_CHANGED => format!("={}", change.role),
            MEMBER_REMOVED => change.role,
            other => panic!("{other} is no change of a member"),
        },
    }
}

#[test]
fn each_role_changes_other_members_as_in_the_table() {
    // Columns: bob's role before, the request, and the results if alice is guest, member, custom role, admin, owner.
    let table: [(&str, MembershipRequest, [&str; 5]); 15] = [
        (
            NO_MEMBER,
            MembershipRequest::Put(None),
            ["forbidden", "forbidden", "forbidden", "+member", "+member"],
        ),
        (NO_MEMBER, put("vip"), ["forbidden", "forbidden", "forbidden", "+vip", "+vip"]),
        (NO_MEMBER, put("admin"), ["forbidden", "forbidden", "forbidden", "+admin", "+admin"]),
        (NO_MEMBER, put("owner"), ["forbidden", "forbidden", "forbidden", "forbidden", "+owner"]),
        (
            NO_MEMBER,
            MembershipRequest::Remove,
            ["forbidden", "forbidden", "forbidden", "not_found", "not_found"],
        ),
        (
            "member",
            MembershipRequest::Put(None),
            ["forbidden", "forbidden", "forbidden", "nothing", "nothing"],
        ),
        ("member", put("member"), ["forbidden", "forbidden", "forbidden", "nothing", "nothing"]),
        ("member", put("guest"), ["forbidden", "forbidden", "forbidden", "=guest", "=guest"]),
        ("member", put("owner"), ["forbidden", "forbidden", "forbidden", "forbidden", "=owner"]),
        ("member", MembershipRequest::Remove, ["forbidden", "forbidden", "forbidden", "removed", "removed"]),
        ("admin", put("member"), ["forbidden", "forbidden", "forbidden", "=member", "=member"]),
        ("admin", MembershipRequest::Remove, ["forbidden", "forbidden", "forbidden", "removed", "removed"]),
        (
            "owner",
            MembershipRequest::Put(None),
            ["forbidden", "forbidden", "forbidden", "forbidden", "nothing"],
        ),
        ("owner", put("member"), ["forbidden", "forbidden", "forbidden", "forbidden", "=member"]),
        ("owner", MembershipRequest::Remove, ["forbidden", "forbidden", "forbidden", "forbidden", "removed"]),
    ];
    for (before, request, expected) in table {
        for (role, expected) in ["guest", "member", "vip", "admin", "owner"].into_iter().zip(expected) {
            for kind in ["private", "public"] {
                let snapshot = in_room(kind, role, before);
                assert_eq!(
                    outcome_word(&snapshot, false, "bob", &request),
                    expected,
                    "{role}: {before} {request:?}"
                );
                let archived = match expected {
                    "forbidden" | "nothing" => expected,
                    _ => "conflict",
                };
                let snapshot = MembershipContext { archived: true, ..snapshot };
                assert_eq!(
                    outcome_word(&snapshot, false, "bob", &request),
                    archived,
                    "archived, {role}: {before} {request:?}"
                );
            }
            let direct = in_room("direct", role, before);
            assert_eq!(
                outcome_word(&direct, false, "bob", &request),
                "forbidden",
                "direct, {role}: {before} {request:?}"
            );
        }
        // A requester with the admin scope may do what owners may, as a member or not.
        for role in [NO_MEMBER, "guest", "owner"] {
            let snapshot = in_room("private", role, before);
            assert_eq!(
                outcome_word(&snapshot, true, "bob", &request),
                expected[4],
                "scope, {role}: {before} {request:?}"
            );
        }
        for (kind, code) in [("private", "not_found"), ("public", "not_found"), ("direct", "not_found")] {
            let snapshot = in_room(kind, NO_MEMBER, before);
            assert_eq!(
                outcome_word(&snapshot, false, "bob", &request),
                code,
                "no member, {kind}: {before} {request:?}"
            );
        }
    }
}

#[test]
fn own_membership_changes_follow_the_table() {
    let table: [(&str, &str, MembershipRequest, &str); 20] = [
        ("public", NO_MEMBER, MembershipRequest::Put(None), "+member"),
        ("public", NO_MEMBER, put("owner"), "+member"),
        ("private", NO_MEMBER, MembershipRequest::Put(None), "not_found"),
        ("direct", NO_MEMBER, MembershipRequest::Put(None), "not_found"),
        ("public", NO_MEMBER, MembershipRequest::Remove, "not_found"),
        ("public", "guest", MembershipRequest::Put(None), "nothing"),
        ("private", "member", put("member"), "nothing"),
        ("public", "owner", MembershipRequest::Put(None), "nothing"),
        ("public", "guest", put("member"), "forbidden"),
        ("private", "member", put("admin"), "forbidden"),
        ("private", "admin", put("owner"), "forbidden"),
        ("private", "admin", put("guest"), "=guest"),
        ("private", "member", put("guest"), "=guest"),
        ("public", "vip", put("guest"), "=guest"),
        ("private", "member", put("vip"), "forbidden"),
        ("private", "vip", put("member"), "forbidden"),
        ("private", "owner", put("admin"), "=admin"),
        ("private", "guest", MembershipRequest::Remove, "removed"),
        ("private", "owner", MembershipRequest::Remove, "removed"),
        ("direct", "member", MembershipRequest::Remove, "forbidden"),
    ];
    for (kind, role, request, expected) in table {
        let snapshot = in_room(kind, role, role);
        assert_eq!(
            outcome_word(&snapshot, false, "alice", &request),
            expected,
            "{kind}, {role}: {request:?}"
        );
    }
    let archived = MembershipContext { archived: true, ..in_room("public", NO_MEMBER, NO_MEMBER) };
    assert_eq!(outcome_word(&archived, false, "alice", &MembershipRequest::Put(None)), "conflict");
    let scope = in_room("public", NO_MEMBER, NO_MEMBER);
    assert_eq!(outcome_word(&scope, true, "alice", &put("admin")), "+admin", "an admin may choose the role");
}

#[test]
fn join_obeys_removal_and_lower_role_until_lifted() {
    let returning = |kind: &str, requester: &str, rejoin_role: &str| MembershipContext {
        rejoin_role: Some(rejoin_role.to_owned()),
        ..in_room(kind, requester, NO_MEMBER)
    };
    for request in [MembershipRequest::Put(None), put("owner")] {
        let removed = returning("public", NO_MEMBER, role::REMOVED);
        assert_eq!(outcome_word(&removed, false, "alice", &request), "forbidden", "{request:?}");
        let guest = returning("public", NO_MEMBER, role::GUEST);
        assert_eq!(outcome_word(&guest, false, "alice", &request), "+guest", "{request:?}");
    }
    for rejoin_role in [role::REMOVED, role::GUEST] {
        let added_by = |requester| {
            let snapshot = returning("public", requester, rejoin_role);
            outcome_word(&snapshot, false, "bob", &MembershipRequest::Put(None))
        };
        assert_eq!([added_by("admin"), added_by("owner")], ["+member", "+member"], "{rejoin_role}");
        assert_eq!(added_by("member"), "forbidden", "{rejoin_role}");
        let scope = returning("public", NO_MEMBER, rejoin_role);
        assert_eq!(outcome_word(&scope, true, "alice", &MembershipRequest::Put(None)), "+member");
    }
    // The answer does not reveal a private room.
    let hidden = returning("private", NO_MEMBER, role::REMOVED);
    assert_eq!(outcome_word(&hidden, false, "alice", &MembershipRequest::Put(None)), "not_found");
}

#[test]
fn erased_user_can_only_be_removed() {
    for admin in [false, true] {
        let gone = MembershipContext { erased: true, ..in_room("private", "owner", NO_MEMBER) };
        assert_eq!(outcome_word(&gone, admin, "bob", &MembershipRequest::Put(None)), "not_found");
        let going = MembershipContext { erased: true, ..in_room("private", "owner", "member") };
        assert_eq!(outcome_word(&going, admin, "bob", &put("owner")), "not_found");
        assert_eq!(outcome_word(&going, admin, "bob", &MembershipRequest::Remove), "removed");
    }
    let as_plain_member = MembershipContext { erased: true, ..in_room("private", "member", NO_MEMBER) };
    assert_eq!(outcome_word(&as_plain_member, false, "bob", &put("member")), "forbidden");
}

#[test]
fn last_owner_cannot_be_removed_or_demoted() {
    let last = MembershipContext { owners: 1, ..in_room("private", "owner", "owner") };
    for request in [MembershipRequest::Remove, put("admin"), put("member")] {
        assert_eq!(outcome_word(&last, false, "alice", &request), "conflict", "{request:?}");
        assert_eq!(outcome_word(&last, true, "bob", &request), "conflict", "{request:?}");
    }
    assert_eq!(outcome_word(&last, false, "alice", &put("owner")), "nothing");
}

#[test]
fn only_changes_of_owners_depend_on_all_memberships() {
    let depends = |before: &str, request: &MembershipRequest| {
        let alice = user("alice");
        let requester = Requester { user: &alice, admin: false };
        match decide(&in_room("private", "owner", before), requester, &user("bob"), request, LARGE_LIMITS)
            .unwrap()
        {
            Decision::NoChange { .. } => None,
            Decision::Append(change) => Some((change.depends_on_owners, change.min_role)),
        }
    };
    assert_eq!(depends("owner", &MembershipRequest::Remove), Some((true, MinRole::Owner)));
    assert_eq!(depends("owner", &put("admin")), Some((true, MinRole::Owner)));
    assert_eq!(depends("admin", &put("owner")), Some((false, MinRole::Owner)));
    assert_eq!(depends("member", &MembershipRequest::Remove), Some((false, MinRole::Admin)));
    assert_eq!(depends(NO_MEMBER, &put("guest")), Some((false, MinRole::Admin)));
}

#[test]
fn full_room_and_room_limit_refuse_new_members() {
    let bounds = MembershipLimits { members_per_room: 5, rooms_per_user: 1, rooms_by_others: 3 };
    let alice = user("alice");
    let code = |snapshot: &MembershipContext, request: &MembershipRequest| {
        let requester = Requester { user: &alice, admin: true };
        decide(snapshot, requester, &user("bob"), request, bounds).err().map(|refusal| refusal.code)
    };
    let full = in_room("private", "owner", NO_MEMBER);
    assert_eq!(code(&full, &MembershipRequest::Put(None)), Some(ErrorCode::TooLarge));
    assert_eq!(code(&in_room("private", "owner", "member"), &put("guest")), None, "members may still change");
    let busy = MembershipContext { member_count: 4, rooms: 3, ..full };
    assert_eq!(code(&busy, &MembershipRequest::Put(None)), Some(ErrorCode::TooLarge));
    assert_eq!(code(&MembershipContext { rooms: 2, ..busy }, &MembershipRequest::Put(None)), None);
}
