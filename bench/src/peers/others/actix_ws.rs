//! Raw fan-out as in the documentation of actix-ws: one `Session` per connection. Each session gets a clone of the
//! text.

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use actix_ws::{AggregatedMessage, AggregatedMessageStream, Session};
use anyhow::Result;
use bytestring::ByteString;

use super::bare::{BAD_REQUEST, ClientMessage, ConnectQuery};

/// Limit of connections. It has no effect, because the limit of file descriptors is lower.
const MAX_CONNECTIONS: usize = 1_000_000;

type Room = tokio::sync::Mutex<Sessions>;

#[derive(Default)]
struct Rooms(Mutex<HashMap<String, Arc<Room>>>);

#[derive(Default)]
struct Sessions {
    seq: u64,
    all: Vec<Session>,
}

/// Serves with one worker until the process ends.
///
/// # Errors
/// When the listener cannot be used.
pub fn run(listener: TcpListener) -> Result<()> {
    let rooms = web::Data::new(Rooms::default());
    let served = async move {
        HttpServer::new(move || App::new().app_data(rooms.clone()).route("/", web::get().to(connect)))
            .workers(1)
            .tcp_nodelay(true)
            .max_connections(MAX_CONNECTIONS)
            // Thousands of clients connect at once, and must not time out while they wait.
            .client_request_timeout(Duration::from_secs(60))
            .listen(listener)?
            .run()
            .await
    };
    Ok(actix_web::rt::System::new().block_on(served)?)
}

impl Rooms {
    fn get_or_create(&self, name: &str) -> Arc<Room> {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(rooms.entry(name.to_owned()).or_default())
    }
}

impl Sessions {
    /// Sends a text to all sessions. Removes each session whose send fails: nothing else shows that a session has
    /// ended.
    async fn send(&mut self, text: ByteString) {
        let mut index = 0;
        while let Some(session) = self.all.get_mut(index) {
            if session.text(text.clone()).await.is_ok() {
                index += 1;
            } else {
                self.all.swap_remove(index);
            }
        }
    }
}

async fn connect(
    request: HttpRequest,
    body: web::Payload,
    query: web::Query<ConnectQuery>,
    rooms: web::Data<Rooms>,
) -> actix_web::Result<HttpResponse> {
    let (response, session, stream) = actix_ws::handle(&request, body)?;
    let query = query.into_inner();
    let room = rooms.get_or_create(&query.room);
    room.lock().await.all.push(session.clone());
    actix_web::rt::spawn(serve(session, stream.aggregate_continuations(), query, room));
    Ok(response)
}

/// Serves one connection until it ends.
async fn serve(
    mut session: Session,
    mut stream: AggregatedMessageStream,
    query: ConnectQuery,
    room: Arc<Room>,
) {
    while let Some(Ok(received)) = stream.recv().await {
        let answered = match received {
            AggregatedMessage::Text(text) => match serde_json::from_str::<ClientMessage>(&text) {
                Ok(message) => {
                    let answered = session.text(message.ack()).await;
                    // The lock is held while sending, so all members of the room get the messages in the same order.
                    let mut sessions = room.lock().await;
                    sessions.seq += 1;
                    let event = message.event(&query.room, &query.user, sessions.seq);
                    sessions.send(event.into()).await;
                    answered
                }
                Err(_) => session.text(BAD_REQUEST).await,
            },
            AggregatedMessage::Ping(payload) => session.pong(&payload).await,
            AggregatedMessage::Close(_) => break,
            AggregatedMessage::Binary(_) | AggregatedMessage::Pong(_) => Ok(()),
        };
        if answered.is_err() {
            return;
        }
    }
    // This fails if the session is closed already.
    let _ = session.close(None).await;
}
