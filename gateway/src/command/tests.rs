//! Tests which effects each client frame has.

use secrecy::SecretString;
use serde_json::{Value, json};
use tidings_shared::{auth::sign_hs256, error::ErrorCode, protocol::client::parse};

use super::*;

fn secret() -> SecretString {
    SecretString::from("a secret of the tests")
}

fn token(user: &str, exp: i64) -> String {
    sign_hs256(&secret(), json!({"sub": user, "exp": exp}).as_object().unwrap()).unwrap()
}

fn apply_json(state: &mut AuthState, taken: Result<(), u64>, frame: &Value) -> Vec<Effect> {
    let verifier = Verifier::hs256(&secret(), 0);
    let env = Environment { verifier: &verifier, take_tokens: &|_, _, _| taken, now_ms: 0 };
    apply_text(state, &env, &frame.to_string())
}

fn apply_text(state: &mut AuthState, env: &Environment<'_>, frame: &str) -> Vec<Effect> {
    let mut parsed = parse(frame, 1000);
    let request = RequestContext::unobserved(parsed.reference.take());
    apply(state, env, parsed, request)
}

fn ready_state(user: &str) -> AuthState {
    AuthState::Ready(Rc::new(Verifier::hs256(&secret(), 0).verify(&token(user, 4_000_000_000)).unwrap()))
}

#[test]
fn before_auth_other_commands_are_refused_and_bad_token_closes() {
    let mut state = AuthState::default();
    let effects = apply_json(&mut state, Ok(()), &json!({"type": "ping", "ref": "r"}));
    assert!(matches!(&effects[..], [Effect::Refuse { request, refusal, .. }]
        if request.reference() == Some("r") && refusal.code == ErrorCode::Unauthorized && refusal.reason.as_deref() == Some("missing")));
    let effects = apply_json(&mut state, Ok(()), &json!({"type": "auth", "token": token("a", 1)}));
    assert!(
        matches!(&effects[..], [Effect::Refuse { refusal, .. }, Effect::Close(CloseCode::Unauthorized, _)]
        if refusal.reason.as_deref() == Some("expired"))
    );
}

#[test]
fn before_auth_invalid_frame_is_refused_for_missing_token() {
    let missing = |effect: &Effect| {
        matches!(effect, Effect::Refuse { request, refusal, .. }
        if request.reference() == Some("r") && refusal.code == ErrorCode::Unauthorized && refusal.reason.as_deref() == Some("missing"))
    };
    for frame in [
        json!({"type": "dance", "ref": "r"}),
        json!({"ref": "r"}),
        json!({"type": "room:join", "room": 7, "ref": "r"}),
        json!({"type": "message:send", "room": "r", "client_id": "c", "content": "x".repeat(1001), "ref": "r"}),
    ] {
        let effects = apply_json(&mut AuthState::default(), Ok(()), &frame);
        assert!(matches!(&effects[..], [effect] if missing(effect)), "{frame}: {effects:?}");
    }
    for frame in [json!({"type": "auth", "ref": "r"}), json!({"type": "auth", "token": 7, "ref": "r"})] {
        let effects = apply_json(&mut AuthState::default(), Ok(()), &frame);
        let closed =
            matches!(&effects[..], [effect, Effect::Close(CloseCode::Unauthorized, _)] if missing(effect));
        assert!(closed, "{frame}: {effects:?}");
    }
    for frame in [json!([]), json!({"type": "auth", "token": "x", "ref": 7})] {
        let effects = apply_json(&mut AuthState::default(), Ok(()), &frame);
        let bad =
            matches!(&effects[..], [Effect::Refuse { refusal, .. }] if refusal.code == ErrorCode::BadRequest);
        assert!(bad, "{frame}: {effects:?}");
    }
    // An authenticated connection gets the frame's own error, and not the error of a missing token.
    let effects = apply_json(&mut ready_state("a"), Ok(()), &json!({"type": "auth", "ref": "r"}));
    assert!(
        matches!(&effects[..], [Effect::Refuse { refusal, .. }] if refusal.field.as_deref() == Some("token"))
    );
}

#[test]
fn good_token_authenticates_once() {
    let mut state = AuthState::default();
    let auth = json!({"type": "auth", "token": token("a", 4_000_000_000)});
    assert!(
        matches!(&apply_json(&mut state, Ok(()), &auth)[..], [Effect::Authenticate { identity, .. }] if identity.user.as_str() == "a")
    );
    assert!(matches!(&apply_json(&mut state, Ok(()), &auth)[..], [Effect::Refuse { .. }]));
}

#[test]
fn later_token_renews_for_same_user_only() {
    let mut state = ready_state("a");
    let other = json!({"type": "auth", "token": token("b", 4_000_000_000)});
    assert!(matches!(&apply_json(&mut state, Ok(()), &other)[..], [Effect::Refuse { refusal, .. }]
        if refusal.reason.as_deref() == Some("user_changed")));
    let same = json!({"type": "auth", "ref": "x", "token": token("a", 4_000_000_001)});
    assert!(matches!(&apply_json(&mut state, Ok(()), &same)[..], [Effect::TokenRenewed, Effect::Reply(_)]));
    assert!(matches!(&state, AuthState::Ready(identity) if identity.expires_at_s == 4_000_000_001));
}

#[test]
fn each_command_uses_its_own_limit_and_reports_the_wait() {
    let change = |kind: &str| json!({"type": kind, "room": "r", "seq": 1, "emoji": "+", "content": "x"});
    let cases = [
        (json!({"type": "message:send", "room": "r", "client_id": "c", "content": "hi"}), Limit::Messages),
        (change("message:edit"), Limit::Messages),
        (change("message:delete"), Limit::Messages),
        (change("reaction:add"), Limit::Messages),
        (change("reaction:remove"), Limit::Messages),
        (change("message:read"), Limit::Marks),
        (change("message:delivered"), Limit::Marks),
        (change("typing:start"), Limit::Typing),
        (change("typing:stop"), Limit::Typing),
        (json!({"type": "signal", "room": "r", "data": 0}), Limit::Signals),
        (json!({"type": "presence:set", "status": "away"}), Limit::Presence),
        (json!({"type": "presence:get", "users": []}), Limit::Presence),
        (change("room:join"), Limit::Joins),
        (json!({"type": "room:join", "rooms": "mine"}), Limit::Joins),
        (change("room:leave"), Limit::Joins),
        (json!({"type": "auth", "token": "x"}), Limit::Commands),
        (json!({"type": "dance"}), Limit::Commands),
    ];
    for (frame, limit) in cases {
        let taken = std::cell::RefCell::new(Vec::new());
        let verifier = Verifier::hs256(&secret(), 0);
        let take_tokens = |limit: Limit, user: &UserId, cost: NonZeroU32| {
            assert_eq!(cost, NonZeroU32::MIN, "{frame}");
            taken.borrow_mut().push((limit, user.as_str().to_owned()));
            Err(70)
        };
        let env = Environment { verifier: &verifier, take_tokens: &take_tokens, now_ms: 0 };
        let effects = apply_text(&mut ready_state("a"), &env, &frame.to_string());
        assert!(
            matches!(&effects[..], [Effect::Refuse { refusal, .. }]
                if refusal.code == ErrorCode::RateLimited && refusal.retry_after_ms == Some(70)),
            "{frame}"
        );
        assert_eq!(*taken.borrow(), [(limit, "a".to_owned())], "{frame}");
        let effects = apply_json(&mut ready_state("a"), Ok(()), &frame);
        let limited = |effect: &Effect| matches!(effect, Effect::Refuse { refusal, .. } if refusal.code == ErrorCode::RateLimited);
        assert!(!effects.iter().any(limited), "{frame}");
    }
}

#[test]
fn join_of_many_rooms_costs_more() {
    let verifier = Verifier::hs256(&secret(), 0);
    for (kind, rooms, cost) in [("room:join", 49, 1), ("room:join", 200, 5), ("room:leave", 200, 1)] {
        let taken = std::cell::Cell::new(0);
        let take_tokens = |_: Limit, _: &UserId, cost: NonZeroU32| {
            taken.set(cost.get());
            Ok(())
        };
        let env = Environment { verifier: &verifier, take_tokens: &take_tokens, now_ms: 0 };
        let rooms: Vec<_> = (0..rooms).map(|n| format!("r{n}")).collect();
        let frame = json!({"type": kind, "rooms": rooms});
        apply_text(&mut ready_state("a"), &env, &frame.to_string());
        assert_eq!(taken.get(), cost, "{frame}");
    }
}

#[test]
fn ping_over_limit_is_answered_and_counted() {
    let ping = json!({"type": "ping"});
    assert!(matches!(&apply_json(&mut ready_state("a"), Ok(()), &ping)[..], [Effect::Reply(_)]));
    assert!(matches!(
        &apply_json(&mut ready_state("a"), Err(1), &ping)[..],
        [Effect::Reply(_), Effect::LimitExceeded]
    ));
}

#[test]
fn large_command_takes_bytes_from_its_user() {
    let verifier = Verifier::hs256(&secret(), 0);
    let taken = std::cell::RefCell::new(Vec::new());
    let take_tokens = |limit, _: &UserId, cost: NonZeroU32| {
        taken.borrow_mut().push((limit, cost.get()));
        if limit == Limit::Bytes { Err(70) } else { Ok(()) }
    };
    let env = Environment { verifier: &verifier, take_tokens: &take_tokens, now_ms: 0 };
    let signal =
        |bytes: usize| json!({"type": "signal", "room": "r", "data": "x".repeat(bytes - 2)}).to_string();
    let effects = apply_text(&mut ready_state("ann"), &env, &signal(4 * 1024));
    assert!(matches!(&effects[..], [Effect::InRoom { .. }]), "{effects:?}");
    let effects = apply_text(&mut ready_state("ann"), &env, &signal(14 * 1024));
    assert!(matches!(&effects[..], [Effect::Refuse { refusal, .. }]
        if refusal.code == ErrorCode::RateLimited && refusal.retry_after_ms == Some(70)));
    let url = format!("https://files.example/{}", "x".repeat(2_000));
    let attachments = vec![json!({"url": url, "name": "a", "media_type": "image/png", "size": 1}); 10];
    let send = json!({"type": "message:send", "room": "r", "client_id": "c", "content": "", "attachments": attachments});
    let effects = apply_text(&mut ready_state("ann"), &env, &send.to_string());
    assert!(matches!(&effects[..], [Effect::Refuse { .. }]), "{effects:?}");
    let signals = [(Limit::Signals, 1), (Limit::Signals, 1), (Limit::Bytes, 10)];
    assert_eq!(*taken.borrow(), [&signals[..], &[(Limit::Messages, 1), (Limit::Bytes, 16)]].concat());
}
