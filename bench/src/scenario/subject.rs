//! The measured servers, by their names in figures.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::peers::{install, others};
use crate::results::Scenario;

/// A measured server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    Tidings,
    /// Tidings with clients that speak Socket.IO over WebSocket.
    TidingsSocketIo,
    Other(others::OtherServer),
    /// A running server that a file describes, with the name in the file.
    Described {
        name: String,
        file: PathBuf,
    },
}

impl Subject {
    /// Socket.IO 4. It has the Redis adapter if there are two nodes, and pg if messages are stored.
    #[must_use]
    pub fn socket_io() -> Self {
        Subject::Other(others::OtherServer::SocketIo)
    }

    /// Centrifuge. It has the Redis broker if there are two nodes, and pgx if messages are stored.
    #[must_use]
    pub fn centrifuge() -> Self {
        Subject::Other(others::OtherServer::Centrifuge)
    }

    /// The chat servers: Tidings, Socket.IO and Centrifuge. Leaves out Centrifuge and adds a note to the scenario if it
    /// cannot be built on this machine.
    ///
    /// # Errors
    /// When files of the build cannot be written.
    pub async fn available_chat_servers(scenario: &mut Scenario) -> Result<Vec<Self>> {
        let missing = install::centrifuge::unavailable_reason().await?;
        Ok(Subject::chat_servers(missing, scenario))
    }

    /// The chat servers. `missing` is the reason why Centrifuge is not measured, or `None` if it is measured.
    fn chat_servers(missing: Option<String>, scenario: &mut Scenario) -> Vec<Self> {
        let mut chats = vec![Subject::Tidings, Subject::socket_io()];
        match missing {
            None => chats.push(Subject::centrifuge()),
            Some(why) => {
                let note = format!("{}: not measured. {why}", Subject::centrifuge().name());
                eprintln!("{}: {note}", scenario.name);
                scenario.notes.push(note);
            }
        }
        chats
    }

    /// Node's `ws`.
    #[must_use]
    pub fn ws() -> Self {
        Subject::Other(others::OtherServer::Ws)
    }

    /// actix-ws.
    #[must_use]
    pub fn actix_ws() -> Self {
        Subject::Other(others::OtherServer::ActixWs)
    }

    /// One write(2) per receiver, and nothing else.
    #[must_use]
    pub fn write_limit() -> Self {
        Subject::Other(others::OtherServer::WriteLimit)
    }

    /// The running server that a JSON file describes; see [`others::OtherServer::Described`].
    pub fn from_description_file(file: &Path) -> Result<Self> {
        Ok(Subject::Described { name: others::described_server_name(file)?, file: file.to_owned() })
    }

    /// Whether the server is Tidings, with clients of either protocol.
    #[must_use]
    pub fn is_tidings(&self) -> bool {
        matches!(self, Subject::Tidings | Subject::TidingsSocketIo)
    }

    /// The name of the server in figures.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Subject::Tidings => "Tidings",
            Subject::TidingsSocketIo => "Tidings (Socket.IO)",
            Subject::Other(others::OtherServer::SocketIo) => "Socket.IO",
            Subject::Other(others::OtherServer::Centrifuge) => "Centrifuge",
            Subject::Other(others::OtherServer::Ws) => "ws",
            Subject::Other(others::OtherServer::ActixWs) => "actix-ws",
            Subject::Other(others::OtherServer::WriteLimit) => "write(2)",
            Subject::Other(others::OtherServer::Described(_)) => "other",
            Subject::Described { name, .. } => name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_centrifuge_has_a_note_instead_of_a_figure() {
        let mut scenario = Scenario::default();
        let chats = Subject::chat_servers(Some("Go is missing".into()), &mut scenario);
        assert!(!chats.contains(&Subject::centrifuge()));
        assert_eq!(scenario.notes, ["Centrifuge: not measured. Go is missing"]);
        let mut scenario = Scenario::default();
        assert!(Subject::chat_servers(None, &mut scenario).contains(&Subject::centrifuge()));
        assert!(scenario.notes.is_empty());
    }
}
