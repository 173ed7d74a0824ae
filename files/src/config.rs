//! Settings of the files, from flags, environment and files.

use std::num::NonZeroU32;
use std::{net::SocketAddr, path::PathBuf};

use clap::Parser;
use secrecy::SecretString;
use tidings_persistence::database::DatabaseArgs;
use tidings_persistence::writer::users::AccountArgs;
use tidings_shared::{
    config::{
        admin_address, listener_clashes,
        problem::{Check, Problem, SecretFiles},
        token_args::TokenArgs,
    },
    origin::AllowedOrigins,
    rotation::AcceptedSecrets,
};
use tracing_subscriber::EnvFilter;
use url::Url;

use crate::bucket::Bucket;
use crate::folder::Folder;
use crate::media::AllowedTypes;
use crate::storage::Storage;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("TIDINGS_COMMIT"), ")");
const DAY_S: u64 = 24 * 3600;
/// Longest time that a setting may name: ten years.
const MAX_TIME_S: u64 = 3650 * DAY_S;

/// Stores files of messages, and serves them to those who may see the message
#[derive(Debug, Clone, Parser)]
#[command(name = "tidings-files", version = VERSION)]
pub struct Config {
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub tokens: TokenArgs,
    #[command(flatten)]
    pub accounts: AccountArgs,
    /// Where the API is served
    #[arg(long, env = "TIDINGS_FILES_LISTEN", default_value = "127.0.0.1:8084", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Address of the operators' listener for health and metrics. Default: the port of `--listen` + 10000
    #[arg(long, env = "TIDINGS_FILES_ADMIN_LISTEN", value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,
    /// Folder of the content files. Replicas share it; its file system must support `flock`. Either this or a bucket is
    /// needed
    #[arg(long, env = "TIDINGS_FILES_FOLDER", value_name = "PATH")]
    pub folder: Option<PathBuf>,
    /// Bucket for the contents, in place of a folder: `s3://BUCKET/PREFIX`, `az://CONTAINER/PREFIX` of Azure, or
    /// `gs://BUCKET/PREFIX` of Google Cloud. Account, endpoint and credentials come from the `AWS_*`, `AZURE_*` or
    /// `GOOGLE_*` variables, or from the platform
    #[arg(long, env = "TIDINGS_FILES_BUCKET", value_name = "URL")]
    pub bucket: Option<String>,
    /// Secret that signs the addresses of downloads, the same for all replicas; at least 16 bytes. A second line is an
    /// older secret that is still accepted; the file is read again when it changes
    #[arg(long, env = "TIDINGS_FILES_SECRET", hide_env_values = true, value_name = "SECRET")]
    pub secret: SecretString,
    /// Begin of the addresses that clients get, such as `https://chat.example.com`. Default: addresses begin with `/v1`,
    /// and clients add the origin that they use
    #[arg(long, env = "TIDINGS_FILES_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,
    /// Origins whose pages may use the API, as for the other services. Default: pages of this machine only
    #[arg(long, env = "TIDINGS_ALLOWED_ORIGINS", value_name = "ORIGINS")]
    pub allowed_origins: Option<String>,
    /// Largest file
    #[arg(long, env = "TIDINGS_FILES_MAX_FILE_BYTES", default_value_t = 100 << 20, value_name = "BYTES", value_parser = clap::value_parser!(i64).range(1..=1 << 44))]
    pub max_file_bytes: i64,
    /// All files of one user together
    #[arg(long, env = "TIDINGS_FILES_MAX_USER_BYTES", default_value_t = 5 << 30, value_name = "BYTES", value_parser = clap::value_parser!(i64).range(1..=1 << 50))]
    pub max_user_bytes: i64,
    /// All files of one room together
    #[arg(long, env = "TIDINGS_FILES_MAX_ROOM_BYTES", default_value_t = 100 << 30, value_name = "BYTES", value_parser = clap::value_parser!(i64).range(1..=1 << 50))]
    pub max_room_bytes: i64,
    /// Number of files of one user
    #[arg(long, env = "TIDINGS_FILES_MAX_USER_FILES", default_value_t = 10_000, value_name = "FILES", value_parser = clap::value_parser!(i64).range(1..=1_000_000))]
    pub max_user_files: i64,
    /// Uploads of one user that are not complete
    #[arg(long, env = "TIDINGS_FILES_MAX_USER_UPLOADS", default_value_t = 10, value_name = "UPLOADS", value_parser = clap::value_parser!(i64).range(1..=10_000))]
    pub max_user_uploads: i64,
    /// Media types that may be uploaded, comma separated: `image/png`, `image/*` or `*/*`. Without `*/*` also the first
    /// bytes must show an allowed type
    #[arg(long, env = "TIDINGS_FILES_MEDIA_TYPES", default_value = "*/*", value_name = "TYPES")]
    pub media_types: String,
    /// Largest JPEG, PNG, GIF or WebP. Larger ones are refused, or stored without a preview if `--keep-metadata` is set
    #[arg(long, env = "TIDINGS_FILES_MAX_IMAGE_BYTES", default_value_t = 32 << 20, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    pub max_image_bytes: u64,
    /// Images that are processed at the same time on this replica. Each needs up to 160 MiB of memory and three times
    /// `--max-image-bytes`
    #[arg(long, env = "TIDINGS_FILES_IMAGE_JOBS", default_value_t = 2, value_name = "IMAGES", value_parser = clap::value_parser!(u64).range(1..=64))]
    pub image_jobs: u64,
    /// Keep the metadata of images, such as the position of photos. Previews have none
    #[arg(long, env = "TIDINGS_FILES_KEEP_METADATA", default_value_t = false, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub keep_metadata: bool,
    /// Requests of one user a second on this replica; four times as many at once
    #[arg(long, env = "TIDINGS_FILES_REQUESTS_PER_SECOND", default_value_t = NonZeroU32::MIN.saturating_add(49), value_name = "REQUESTS")]
    pub requests_per_second: NonZeroU32,
    /// Hold each complete file until an admin releases it, such as after a scan for viruses
    #[arg(long, env = "TIDINGS_FILES_HOLD", default_value_t = false, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub hold: bool,
    /// How long an upload may take until it is complete; then it is removed
    #[arg(long, env = "TIDINGS_FILES_UPLOAD_TIMEOUT_S", default_value_t = DAY_S, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=MAX_TIME_S))]
    pub upload_timeout_s: u64,
    /// How long a complete file may wait for a stored message that names it; then it is removed. Must be longer than
    /// messages may wait to be stored
    #[arg(long, env = "TIDINGS_FILES_ORPHAN_AFTER_S", default_value_t = 7 * DAY_S, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=MAX_TIME_S))]
    pub orphan_after_s: u64,
    /// How long a file stays after its message was found deleted, erased or removed by retention
    #[arg(long, env = "TIDINGS_FILES_DELETE_GRACE_S", default_value_t = DAY_S, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=MAX_TIME_S))]
    pub delete_grace_s: u64,
    /// How often the sweep looks for the message of a complete file
    #[arg(long, env = "TIDINGS_FILES_CHECK_EVERY_S", default_value_t = DAY_S / 4, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=MAX_TIME_S))]
    pub check_every_s: u64,
    /// Pause between two rounds of the sweep
    #[arg(long, env = "TIDINGS_FILES_SWEEP_EVERY_S", default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=DAY_S))]
    pub sweep_every_s: u64,
    /// What is logged, such as `debug` (tracing's EnvFilter); JSON lines on standard error
    #[arg(long, env = "TIDINGS_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
    /// The files from which secrets were read.
    #[arg(skip)]
    pub secret_files: SecretFiles,
}

impl Config {
    /// The address of the operators' listener. Err if its default port would be invalid.
    pub fn admin_listen(&self) -> Result<SocketAddr, Problem> {
        admin_address(self.listen, self.admin_listen)
    }

    /// The storage of the contents.
    pub fn storage(&self) -> Result<Storage, Problem> {
        match (&self.folder, &self.bucket) {
            (Some(_), Some(_)) => Err(Problem::new("bucket", "cannot be used together with a folder")),
            (None, None) => Err(Problem::new("folder", "or a bucket must be given")),
            (Some(folder), None) if !folder.is_dir() => Err(Problem::new("folder", "is not a folder")),
            (Some(folder), None) => Ok(Storage::Folder(Folder::new(folder.clone()))),
            (None, Some(url)) => {
                let url = Url::parse(url).map_err(|_| Problem::new("bucket", "is not a URL"))?;
                let bucket = Bucket::new(&url).map_err(|why| Problem::new("bucket", why))?;
                let max_bytes = bucket.max_file_bytes();
                if self.max_file_bytes.unsigned_abs() > max_bytes {
                    let rule = format!("must not be over {max_bytes} with this bucket");
                    return Err(Problem::new("max-file-bytes", rule));
                }
                Ok(Storage::Bucket(bucket))
            }
        }
    }

    /// The secrets that sign addresses.
    pub fn secrets(&self) -> Result<AcceptedSecrets, Problem> {
        AcceptedSecrets::parse(&self.secret).map_err(|why| Problem::new("secret", why))
    }

    /// The origins whose pages may use the API.
    pub fn origins(&self) -> Result<AllowedOrigins, Problem> {
        AllowedOrigins::parse(self.allowed_origins.as_deref().unwrap_or_default())
            .map_err(|error| Problem::new("allowed-origins", error))
    }

    /// The media types that may be uploaded.
    pub fn media_types(&self) -> Result<AllowedTypes, Problem> {
        AllowedTypes::parse(&self.media_types).map_err(|wrong| {
            Problem::new("media-types", format!("{wrong:?} is not `type/subtype`, `type/*` or `*/*`"))
        })
    }

    /// The begin of the addresses that clients get, without a slash at the end; empty by default.
    pub fn public_url(&self) -> Result<String, Problem> {
        let given = self.public_url.as_deref().unwrap_or_default().trim_end_matches('/');
        let is_base = |url: Url| {
            matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none()
        };
        if given.is_empty() || Url::parse(given).is_ok_and(is_base) {
            return Ok(given.to_owned());
        }
        Err(Problem::new("public-url", "must be a URL with http or https, without query and fragment"))
    }
}

impl Check for Config {
    fn check(&self) -> Vec<Problem> {
        let mut problems = self.database.check();
        problems.extend(self.tokens.checked().err().into_iter().flatten());
        problems.extend(self.secrets().err());
        problems.extend(self.origins().err());
        problems.extend(self.media_types().err());
        problems.extend(self.public_url().err());
        problems.extend(self.storage().err());
        match self.admin_listen() {
            Ok(admin) => {
                problems.extend(listener_clashes(&[("listen", self.listen), ("admin-listen", admin)]));
            }
            Err(problem) => problems.push(problem),
        }
        if let Err(error) = EnvFilter::try_new(&self.log) {
            problems.push(Problem::new("log", error));
        }
        problems
    }

    fn set_secret_files(&mut self, files: SecretFiles) {
        self.secret_files = files;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::parts::{MAX_FILE_BYTES, MAX_PROXIED_FILE_BYTES};

    fn problems(more: &[&str]) -> Vec<Problem> {
        problems_of(&[&["--folder=/"], more].concat())
    }

    fn problems_of(more: &[&str]) -> Vec<Problem> {
        let base = [
            "tidings-files",
            "--database-url=postgres://localhost/tidings",
            "--jwt-secret=0123456789abcdef",
            "--secret=0123456789abcdef",
        ];
        Config::try_parse_from(base.iter().chain(more)).unwrap().check()
    }

    #[test]
    fn wrong_settings_are_named() {
        assert_eq!(problems(&[]), []);
        assert_eq!(problems(&["--media-types=image/*,a/b", "--public-url=https://a.example/files/"]), []);
        let names = |more: &[&str]| problems(more).len();
        assert_eq!(names(&["--media-types=image"]), 1);
        assert_eq!(names(&["--public-url=ftp://a"]) + names(&["--public-url=https://a?b"]), 2);
        assert_eq!(names(&["--allowed-origins=a"]), 1);
        assert_eq!(names(&["--admin-listen=127.0.0.1:8084"]), 1);
    }

    #[test]
    fn either_a_folder_or_a_bucket_is_needed() {
        tidings_shared::tls::install_provider();
        let over = |bytes: u64| format!("--max-file-bytes={}", bytes + 1);
        let (large, medium) = (over(MAX_FILE_BYTES), over(MAX_PROXIED_FILE_BYTES));
        assert_eq!(problems_of(&["--bucket=s3://files"]), []);
        assert_eq!(problems_of(&["--bucket=s3://files.example/a/b", &medium]), []);
        assert_eq!(problems_of(&["--bucket=gs://files/a"]), []);
        assert_eq!(problems_of(&["--folder=/", &large]), []);
        for wrong in [
            &["--folder=/", "--bucket=s3://files"][..],
            &[],
            &["--folder=/does/not/exist"],
            &["--bucket=files"],
            &["--bucket=https://files"],
            &["--bucket=s3:///a"],
            &["--bucket=s3://files/a?b"],
            &["--bucket=s3://user@files"],
            &["--bucket=s3://files", &large],
            &["--bucket=gs://files", &medium],
            // Without a variable that names the account.
            &["--bucket=az://files"],
            &["--bucket=az://files/a?b"],
        ] {
            assert_eq!(problems_of(wrong).len(), 1, "{wrong:?}");
        }
    }
}
