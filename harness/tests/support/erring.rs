//! A small in-memory chat system with a fault on demand: one room `r`, its log and its history. To add a fault, add it
//! to `Fault` and inject it where the tenth message is delivered.

use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tidings_harness::Nodes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

const SECRET: &str = "a secret of thirty-two characters";

/// The fault of the tenth message, or of the first message after it that an observer receives live. A fault needs a
/// live observer, because a replay after a (re)join would repair it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    Loses,
    Repeats,
    Reorders,
    ChangesHistory,
    AppendsARetryTwice,
    NeverSaysStored,
    HidesHistory,
    /// Pages of events announce more, but their `next` cursor stays at the start of the page.
    RepeatsEventCursor,
    /// Pages of messages announce more, but each is the first page.
    RepeatsMessagePage,
}

pub struct FaultySystem {
    fault: Fault,
    log: Mutex<Vec<Value>>,
    subscribers: Mutex<Vec<Subscriber>>,
    /// The message whose delivery to an observer is wrong.
    faulty_seq: Mutex<Option<usize>>,
}

struct Subscriber {
    user: String,
    out: UnboundedSender<Value>,
}

impl FaultySystem {
    /// Starts the system. It answers each request to create a room with its only room, `r`.
    pub async fn start(fault: Fault) -> Nodes {
        let system = Arc::new(FaultySystem {
            fault,
            log: Mutex::default(),
            subscribers: Mutex::default(),
            faulty_seq: Mutex::default(),
        });
        let gateway = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let persistence = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nodes = Nodes {
            gateways: vec![format!("ws://{}/v1/ws", gateway.local_addr().unwrap())],
            socket_io: None,
            persistence: vec![format!("http://{}", persistence.local_addr().unwrap())],
            jwt_secret: SECRET.to_owned(),
            http: tidings_harness::http::client(),
        };
        tokio::spawn({
            let system = Arc::clone(&system);
            async move {
                loop {
                    tokio::spawn(serve_websocket(gateway.accept().await.unwrap().0, Arc::clone(&system)));
                }
            }
        });
        tokio::spawn(async move {
            loop {
                tokio::spawn(serve_http_request(persistence.accept().await.unwrap().0, Arc::clone(&system)));
            }
        });
        nodes
    }

    fn join(&self, user: &str, frame: &Value, out: &UnboundedSender<Value>) {
        let log = self.log.lock().unwrap();
        let head = json!({ "epoch": "1", "seq": log.len() });
        let after = frame["after"]["seq"].as_u64().map_or(log.len(), |seq| usize::try_from(seq).unwrap());
        out.send(json!({ "type": "room:joined", "ref": frame["ref"], "failed": [], "rooms": [{
            "room": "r", "kind": "private", "role": "member", "read_seq": 0, "members": 2, "head": head,
        }] }))
        .unwrap();
        log[after..].iter().for_each(|event| out.send(event.clone()).unwrap());
        out.send(json!({ "type": "room:caught_up", "room": "r", "epoch": "1", "seq": log.len() })).unwrap();
        self.subscribers.lock().unwrap().push(Subscriber { user: user.to_owned(), out: out.clone() });
    }

    fn append(&self, user: &str, frame: &Value) -> Value {
        let mut log = self.log.lock().unwrap();
        let mut seq = log.len() + 1;
        let event = |seq: usize| {
            json!({
                "type": "message:new", "room": "r", "seq": seq, "at": "", "id": format!("id-{seq}"),
                "kind": "text", "client_id": frame["client_id"], "sender": { "id": user },
                "content": frame["content"],
            })
        };
        let mut new = vec![event(seq)];
        if seq == 10 && self.fault == Fault::AppendsARetryTwice {
            new.push(event(seq + 1));
        }
        log.extend(new.iter().cloned());
        let subscribers = self.subscribers.lock().unwrap();
        let observer = subscribers.iter().position(|subscriber| subscriber.user.starts_with("observer-"));
        for (number, Subscriber { out, .. }) in subscribers.iter().enumerate() {
            let mut events = new.clone();
            if observer == Some(number) && seq >= 10 {
                let at = *self.faulty_seq.lock().unwrap().get_or_insert(seq);
                match self.fault {
                    Fault::Loses if seq == at => events.clear(),
                    Fault::Repeats if seq == at => events.push(new[0].clone()),
                    Fault::Reorders if seq == at => events.clear(),
                    Fault::Reorders if seq == at + 1 => events.push(log[at - 1].clone()),
                    _ => {}
                }
            }
            // A send fails when the subscriber has disconnected; that is no error.
            events.into_iter().for_each(|event| drop(out.send(event)));
        }
        seq = new[0]["seq"].as_u64().unwrap().try_into().unwrap();
        json!({
            "type": "ack", "ref": frame["ref"], "room": "r", "seq": seq, "epoch": "1", "at": "",
            "stage": "stored", "duplicate": false, "id": format!("id-{seq}"),
        })
    }

    fn http_answer(&self, path: &str) -> Value {
        let log = self.log.lock().unwrap();
        let head = json!({ "epoch": "1", "seq": log.len() });
        if path.ends_with("/v1/rooms") {
            return json!({ "room": "r", "head": head });
        }
        let after = path.split(['?', '&']).find_map(|part| part.strip_prefix("after="));
        let after: usize = after.map_or(log.len().saturating_sub(50), |after| after.parse().unwrap());
        let page: Vec<Value> = log[after..].iter().take(200).cloned().collect();
        let end = after + page.len();
        if path.contains("/events") {
            let repeats_cursor = self.fault == Fault::RepeatsEventCursor;
            let next = json!({ "epoch": "1", "seq": if repeats_cursor { after } else { end } });
            let more = repeats_cursor || end < log.len();
            return json!({ "events": page, "next": next, "head": head, "more": more });
        }
        if self.fault == Fault::RepeatsMessagePage {
            let first: Vec<Value> = log.iter().map(|event| self.to_history_message(event.clone())).collect();
            return json!({ "messages": first, "head": head, "has_before": false, "has_after": true });
        }
        let messages: Vec<Value> = page.into_iter().map(|event| self.to_history_message(event)).collect();
        json!({ "messages": messages, "head": head, "has_before": after > 0, "has_after": end < log.len() })
    }

    fn to_history_message(&self, mut event: Value) -> Value {
        event["deleted"] = json!(false);
        event["last_seq"] = event["seq"].clone();
        if self.fault == Fault::ChangesHistory && event["seq"] == 10 {
            event["content"] = json!("something else");
        }
        event
    }
}

async fn serve_websocket(stream: TcpStream, system: Arc<FaultySystem>) {
    let mut user = String::new();
    #[expect(clippy::result_large_err, reason = "the library's own signature")]
    let read_token = |request: &Request, response: Response| {
        let header = request.headers()["authorization"].to_str().unwrap();
        let key = jsonwebtoken::DecodingKey::from_secret(SECRET.as_bytes());
        let rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::HS256);
        let token = header.trim_start_matches("Bearer ");
        let claims = jsonwebtoken::decode::<Value>(token, &key, &rules).unwrap().claims;
        user = claims["sub"].as_str().unwrap().to_owned();
        Ok(response)
    };
    let socket = tokio_tungstenite::accept_hdr_async(stream, read_token).await.unwrap();
    let (mut sink, mut stream) = socket.split();
    let (out, mut frames) = unbounded_channel::<Value>();
    tokio::spawn(async move {
        while let Some(frame) = frames.recv().await {
            if sink.send(Message::text(frame.to_string())).await.is_err() {
                return;
            }
        }
    });
    out.send(json!({
        "type": "connected", "connection": "c", "user": user, "node": "fake", "server_time": "",
        "heartbeat_ms": 25000, "expires_at": "", "rooms_version": "1",
        "limits": { "max_message_chars": 1000, "max_frame_bytes": 65536, "messages_per_second": 10 },
    }))
    .unwrap();
    while let Some(Ok(Message::Text(text))) = stream.next().await {
        let frame: Value = serde_json::from_str(&text).unwrap();
        match frame["type"].as_str().unwrap() {
            "room:join" => system.join(&user, &frame, &out),
            "message:send" => {
                let ack = system.append(&user, &frame);
                if system.fault != Fault::NeverSaysStored || ack["seq"] != 10 {
                    out.send(ack).unwrap();
                }
            }
            other => panic!("{other}"),
        }
    }
}

async fn serve_http_request(mut stream: TcpStream, system: Arc<FaultySystem>) {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                break;
            }
        }
        if stream.read_buf(&mut bytes).await.unwrap() == 0 {
            return;
        }
    }
    let text = String::from_utf8(bytes).unwrap();
    let status = match text.split(' ').next() {
        Some("POST") => 201,
        _ if system.fault == Fault::HidesHistory && text.contains("after=") => 403,
        _ => 200,
    };
    let body = system.http_answer(text.split(' ').nth(1).unwrap()).to_string();
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
}
