//! Tests which frames are admitted, and which limits they take tokens from.

use std::{cell::RefCell, rc::Rc};

use serde_json::{Value, json};
use tidings_shared::{auth::Identity, error::ErrorCode, protocol::client::parse};

use super::*;

fn ready_state() -> AuthState {
    let user = UserId::parse("a").unwrap();
    let identity =
        Identity { user, name: None, picture: None, expires_at_s: 4_000_000_000, admin: false, feed: false };
    AuthState::Ready(Rc::new(identity))
}

/// The outcome of a frame, and the tokens that it took. `has_tokens` says whether a bucket has enough.
fn admit_frame(
    state: &AuthState,
    frame: &Value,
    has_tokens: impl Fn(Limit) -> bool,
) -> (Result<Command, Refused>, Vec<(Limit, u32)>) {
    let taken = RefCell::default();
    let take_tokens = |limit: Limit, user: &UserId, cost: NonZeroU32| {
        assert_eq!(user.as_str(), "a");
        RefCell::<Vec<_>>::borrow_mut(&taken).push((limit, cost.get()));
        if has_tokens(limit) { Ok(()) } else { Err(70) }
    };
    let outcome = admit(state, parse(&frame.to_string(), 1000).frame, &take_tokens);
    (outcome, taken.into_inner())
}

fn refusal(outcome: Result<Command, Refused>) -> Refusal {
    match outcome.unwrap_err() {
        Refused::Command(refusal) | Refused::Auth(refusal) => refusal,
    }
}

fn is_limited(outcome: &Result<Command, Refused>) -> bool {
    matches!(outcome, Err(Refused::Command(refusal))
        if refusal.code == ErrorCode::RateLimited && refusal.retry_after_ms == Some(70))
}

#[test]
fn before_auth_other_frames_are_refused_for_missing_token() {
    let is_missing = |refusal: &Refusal| {
        refusal.code == ErrorCode::Unauthorized && refusal.reason.as_deref() == Some("missing")
    };
    for frame in [
        json!({"type": "ping"}),
        json!({"type": "dance"}),
        json!({}),
        json!({"type": "room:join", "room": 7}),
        json!({"type": "message:send", "room": "r", "client_id": "c", "content": "x".repeat(1001)}),
    ] {
        let (outcome, taken) = admit_frame(&AuthState::AwaitingAuth, &frame, |_| false);
        assert!(matches!(&outcome, Err(Refused::Command(refusal)) if is_missing(refusal)), "{frame}");
        assert!(taken.is_empty());
    }
    for frame in [json!({"type": "auth"}), json!({"type": "auth", "token": 7})] {
        let (outcome, _) = admit_frame(&AuthState::AwaitingAuth, &frame, |_| false);
        assert!(matches!(&outcome, Err(Refused::Auth(refusal)) if is_missing(refusal)), "{frame}");
        // An authenticated connection gets the frame's own error.
        let refusal = refusal(admit_frame(&ready_state(), &frame, |_| true).0);
        assert_eq!(refusal.field.as_deref(), Some("token"), "{frame}");
    }
    for frame in [json!([]), json!({"type": "auth", "token": "x", "ref": 7})] {
        let refusal = refusal(admit_frame(&AuthState::AwaitingAuth, &frame, |_| false).0);
        assert_eq!(refusal.code, ErrorCode::BadRequest, "{frame}");
    }
    let auth = json!({"type": "auth", "token": "x"});
    let (outcome, _) = admit_frame(&AuthState::AwaitingAuth, &auth, |_| false);
    assert!(matches!(outcome, Ok(Command::Auth { .. })));
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
        let (outcome, taken) = admit_frame(&ready_state(), &frame, |_| false);
        assert!(is_limited(&outcome), "{frame}");
        assert_eq!(taken, [(limit, 1)], "{frame}");
        assert!(!is_limited(&admit_frame(&ready_state(), &frame, |_| true).0), "{frame}");
    }
    // A ping is answered first, and then takes its token.
    let (outcome, taken) = admit_frame(&ready_state(), &json!({"type": "ping"}), |_| false);
    assert!(matches!(outcome, Ok(Command::Ping)) && taken.is_empty());
}

#[test]
fn join_of_many_rooms_costs_more() {
    for (kind, rooms, cost) in [("room:join", 49, 1), ("room:join", 200, 5), ("room:leave", 200, 1)] {
        let rooms: Vec<_> = (0..rooms).map(|n| format!("r{n}")).collect();
        let (_, taken) = admit_frame(&ready_state(), &json!({"type": kind, "rooms": rooms}), |_| true);
        assert_eq!(taken, [(Limit::Joins, cost)], "{kind}");
    }
}

#[test]
fn large_command_takes_bytes_from_its_user() {
    let has_tokens = |limit| limit != Limit::Bytes;
    let signal = |bytes: usize| json!({"type": "signal", "room": "r", "data": "x".repeat(bytes - 2)});
    let (outcome, taken) = admit_frame(&ready_state(), &signal(4 * 1024), has_tokens);
    assert!(matches!(outcome, Ok(Command::InRoom { .. })));
    assert_eq!(taken, [(Limit::Signals, 1)]);
    let (outcome, taken) = admit_frame(&ready_state(), &signal(14 * 1024), has_tokens);
    assert!(is_limited(&outcome));
    assert_eq!(taken, [(Limit::Signals, 1), (Limit::Bytes, 10)]);
    let url = format!("https://files.example/{}", "x".repeat(2_000));
    let attachments = vec![json!({"url": url, "name": "a", "media_type": "image/png", "size": 1}); 10];
    let send = json!({"type": "message:send", "room": "r", "client_id": "c", "content": "", "attachments": attachments});
    let (outcome, taken) = admit_frame(&ready_state(), &send, has_tokens);
    assert!(is_limited(&outcome));
    assert_eq!(taken, [(Limit::Messages, 1), (Limit::Bytes, 16)]);
}
