//! The measured servers, by their names in figures.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::peers::{install, others};
use crate::results::Scenario;

/// A measured server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    Tidings,
    Other(others::Other),
    /// A running server, with its own name.
    Described {
        name: String,
        file: PathBuf,
    },
}

impl Subject {
    /// Socket.IO 4, with the Redis adapter for two nodes, and with pg if messages are stored.
    #[must_use]
    pub fn socket_io() -> Self {
        Subject::Other(others::Other::SocketIo)
    }

    /// Centrifuge, with the Redis broker for two nodes, and with pgx if messages are stored.
    #[must_use]
    pub fn centrifuge() -> Self {
        Subject::Other(others::Other::Centrifuge)
    }

    /// The chat servers: Tidings, Socket.IO, and Centrifuge if it can be had on this machine. If not, adds a note.
    ///
    /// # Errors
    /// When this cannot be found out.
    pub async fn chats(scenario: &mut Scenario) -> Result<Vec<Self>> {
        let missing = install::centrifuge::unavailable().await?;
        Ok(Subject::chats_unless(missing, scenario))
    }

    /// `missing`: why Centrifuge is not measured.
    fn chats_unless(missing: Option<String>, scenario: &mut Scenario) -> Vec<Self> {
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
        Subject::Other(others::Other::Ws)
    }

    /// actix-ws.
    #[must_use]
    pub fn actix_ws() -> Self {
        Subject::Other(others::Other::ActixWs)
    }

    /// One write(2) per receiver, and nothing else.
    #[must_use]
    pub fn write_limit() -> Self {
        Subject::Other(others::Other::WriteLimit)
    }

    /// The server that a file describes; see [`others::Other::Described`].
    ///
    /// # Errors
    /// When it cannot be read, or is malformed.
    pub fn described(file: &Path) -> Result<Self> {
        Ok(Subject::Described { name: others::name_of(file)?, file: file.to_owned() })
    }

    /// Its name in figures.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Subject::Tidings => "Tidings",
            Subject::Other(others::Other::SocketIo) => "Socket.IO",
            Subject::Other(others::Other::Centrifuge) => "Centrifuge",
            Subject::Other(others::Other::Ws) => "ws",
            Subject::Other(others::Other::ActixWs) => "actix-ws",
            Subject::Other(others::Other::WriteLimit) => "write(2)",
            Subject::Other(others::Other::Described(_)) => "other",
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
        let chats = Subject::chats_unless(Some("Go is missing".into()), &mut scenario);
        assert!(!chats.contains(&Subject::centrifuge()));
        assert_eq!(scenario.notes, ["Centrifuge: not measured. Go is missing"]);
        let mut scenario = Scenario::default();
        assert!(Subject::chats_unless(None, &mut scenario).contains(&Subject::centrifuge()));
        assert!(scenario.notes.is_empty());
    }
}
