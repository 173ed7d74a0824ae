//! The hints that `./dev up` prints: addresses, and how to send a first message.

use super::status::Status;
use crate::token::Token;

const TOKEN_TTL_S: i64 = 24 * 3600;

/// The hints. The commands can be pasted into a shell.
pub fn format_hints(status: &Status) -> String {
    let token = Token::of("alice").name("Alice").ttl_s(TOKEN_TTL_S).sign(&status.jwt_secret);
    let http = status.persistence.first().map(|node| node.url.as_str()).unwrap_or_default();
    let ws = status.gateways.first().map(|node| node.ws.as_str()).unwrap_or_default();
    let demo = status
        .demo
        .as_ref()
        .map_or_else(|| " ".to_owned(), |url| format!(" The demo, in a browser: {url}\n\n"));
    format!(
        r#"
Ready.{demo}Talk to it as alice (this token is good for a day; ./dev token USER makes others):

  TOKEN={token}

Make a room with bob in it, and say something:

  ROOM=$(curl -s {http}/v1/rooms -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \
    -d '{{"kind":"private","name":"Kitchen","members":[{{"user":"bob"}}]}}' | sed 's/.*"room":"\([^"]*\)".*/\1/')
  curl -s {http}/v1/rooms/$ROOM/messages -H "Authorization: Bearer $TOKEN" \
    -H 'Content-Type: application/json' -d '{{"client_id":"'$RANDOM-$RANDOM'","content":"Hello, Bob"}}'

Listen as bob: the first command connects, then type the frame below it with the room's id.

  npx wscat -c "{ws}?token=$(./dev token bob)"
  {{"type":"room:join","room":"…"}}
"#
    )
}
