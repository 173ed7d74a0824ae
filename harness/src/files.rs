//! The program `tidings-files` as a child process, and a user of its API.
//! Touches only processes, the network and the folder of a stack.

mod azurite;
mod cloud;
mod google;
mod raw_append;
mod s3;
mod user;

use std::ops::Deref;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::Stack;
use crate::companion::CompanionNode;

pub use azurite::Azurite;
pub use cloud::{Cloud, CloudServer};
pub use google::GoogleServer;
pub use raw_append::RawAppend;
pub use s3::S3Server;
pub use user::{FileUser, Reply, bytes_of, sha256_hex, signature};

/// The secret of the addresses of a node.
pub const SECRET: &str = "a secret of the files of tests";

/// A running replica of the program.
pub struct FilesNode {
    node: CompanionNode,
    folder: PathBuf,
}

impl FilesNode {
    /// Starts a replica for the database of a stack. Its content files are in the folder `files` of the stack, the sweep
    /// runs each second, and users may make many requests, unless `settings` say otherwise. Its log is `NAME.log` in the
    /// folder of the stack.
    ///
    /// # Errors
    /// When the program is missing, or it is not ready in 30 s; with the end of its log.
    pub async fn start(stack: &Stack, name: &str, settings: &[(&str, &str)]) -> Result<FilesNode> {
        let folder = stack.folder().join("files");
        std::fs::create_dir_all(&folder)?;
        let path = folder.display().to_string();
        Self::launch(stack, name, folder, &[&[("TIDINGS_FILES_FOLDER", path.as_str())], settings].concat())
            .await
    }

    /// Like [`FilesNode::start`], but the contents are in the bucket of `server`.
    ///
    /// # Errors
    /// When the program is missing, or it is not ready in 30 s; with the end of its log.
    pub async fn start_with_bucket(
        stack: &Stack,
        name: &str,
        server: &S3Server,
        settings: &[(&str, &str)],
    ) -> Result<FilesNode> {
        Self::launch_with(stack, name, server.folder(), &server.settings(), settings).await
    }

    /// Like [`FilesNode::start`], but the contents pass through the replica to the bucket of `server`.
    ///
    /// # Errors
    /// When the program is missing, or it is not ready in 30 s; with the end of its log.
    pub async fn start_with_cloud(
        stack: &Stack,
        name: &str,
        server: &CloudServer,
        settings: &[(&str, &str)],
    ) -> Result<FilesNode> {
        Self::launch_with(stack, name, server.folder(), &server.settings(), settings).await
    }

    async fn launch_with(
        stack: &Stack,
        name: &str,
        folder: PathBuf,
        of_bucket: &[(&str, String)],
        settings: &[(&str, &str)],
    ) -> Result<FilesNode> {
        let of_bucket = of_bucket.iter().map(|(name, value)| (*name, value.as_str()));
        let all: Vec<(&str, &str)> = of_bucket.chain(settings.iter().copied()).collect();
        Self::launch(stack, name, folder, &all).await
    }

    async fn launch(
        stack: &Stack,
        name: &str,
        folder: PathBuf,
        settings: &[(&str, &str)],
    ) -> Result<FilesNode> {
        let mut all = vec![
            ("DATABASE_URL", stack.persistence_database_url()),
            ("TIDINGS_JWT_SECRET", stack.jwt_secret()),
            ("TIDINGS_FILES_SECRET", SECRET),
            ("TIDINGS_FILES_SWEEP_EVERY_S", "1"),
            ("TIDINGS_FILES_REQUESTS_PER_SECOND", "1000"),
        ];
        all.extend(settings);
        let node = CompanionNode::start(stack, "tidings-files", name, &all).await?;
        Ok(FilesNode { node, folder })
    }

    /// A user of the API, with this token.
    pub fn user(&self, token: &str) -> FileUser {
        FileUser::new(&format!("http://127.0.0.1:{}", self.public_port()), token)
    }

    /// The folder of the content files, or of the objects of the bucket.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the content of a file is.
    pub fn path_of(&self, file: &str) -> PathBuf {
        let digits = &file[file.len() - 4..];
        self.folder.join(&digits[..2]).join(&digits[2..]).join(file)
    }
}

impl Deref for FilesNode {
    type Target = CompanionNode;

    fn deref(&self) -> &CompanionNode {
        &self.node
    }
}
