//! A bucket whose bytes pass through `tidings-files`: of Azure, or of Google Cloud.

use std::path::PathBuf;

use anyhow::Result;

use super::{Azurite, GoogleServer};
use crate::Stack;

/// The provider of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloud {
    Azure,
    Google,
}

/// A running server with one bucket.
pub enum CloudServer {
    Azure(Azurite),
    Google(GoogleServer),
}

impl CloudServer {
    /// Starts a server with an empty bucket, in the folder of a stack.
    ///
    /// # Errors
    /// When the program is missing, or it is not ready in 60 s.
    pub async fn start(stack: &Stack, cloud: Cloud) -> Result<CloudServer> {
        match cloud {
            Cloud::Azure => Azurite::start(stack).await.map(CloudServer::Azure),
            Cloud::Google => GoogleServer::start(stack).await.map(CloudServer::Google),
        }
    }

    /// Ends the server.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(&self) -> Result<()> {
        match self {
            CloudServer::Azure(server) => server.stop().await,
            CloudServer::Google(google) => {
                google.server().kill();
                Ok(())
            }
        }
    }

    /// Starts the server again after it ended.
    ///
    /// # Errors
    /// When it is not ready in 60 s.
    pub async fn start_again(&self) -> Result<()> {
        match self {
            CloudServer::Azure(server) => server.start_again().await,
            CloudServer::Google(google) => google.server().start_again().await,
        }
    }

    /// The settings of `tidings-files` for the bucket.
    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        match self {
            CloudServer::Azure(server) => server.settings(),
            CloudServer::Google(server) => server.settings(),
        }
    }

    /// The folder of the server.
    pub(super) fn folder(&self) -> PathBuf {
        match self {
            CloudServer::Azure(server) => server.folder(),
            CloudServer::Google(server) => server.folder(),
        }
    }

    /// The names of the objects of a file, without the prefix of the bucket, in order.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn objects(&self, file: &str) -> Result<Vec<String>> {
        match self {
            CloudServer::Azure(server) => server.objects(file).await,
            CloudServer::Google(google) => google.server().objects(file),
        }
    }

    /// The number of uploads that are neither completed nor aborted.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn open_uploads(&self) -> Result<usize> {
        match self {
            CloudServer::Azure(server) => server.open_uploads().await,
            CloudServer::Google(google) => google.server().stored_parts(),
        }
    }

    /// Overwrites an object directly in the bucket, as anyone with its credentials can.
    ///
    /// # Errors
    /// When the server refuses it.
    pub async fn replace(&self, object: &str, content: &[u8]) -> Result<()> {
        match self {
            CloudServer::Azure(server) => server.replace(object, content).await,
            CloudServer::Google(google) => google.replace(object, content).await,
        }
    }

    /// Drops the parts of all uploads that are not completed, as a rule of the bucket does after some days. Returns false
    /// if the server cannot do this.
    ///
    /// # Errors
    /// When the folder of the server cannot be changed.
    pub fn drop_uploads(&self) -> Result<bool> {
        match self {
            CloudServer::Azure(_) => Ok(false),
            CloudServer::Google(google) => google.server().drop_uploads().map(|()| true),
        }
    }
}
