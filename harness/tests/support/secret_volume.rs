//! A folder of secrets as Kubernetes mounts it: each file is a link through the link `..data`, which is swapped at once
//! for a new version of all files. Also waits until a node uses a secret, by the fingerprint in its metrics.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidings_harness::Node;
use tidings_harness::folder::Folder;
use tidings_shared::rotation::fingerprint;

/// Nodes check files every 2 s, and need two checks.
const IN_USE_TIMEOUT: Duration = Duration::from_secs(30);

pub struct SecretVolume {
    folder: Folder,
    version: u32,
    files: BTreeMap<String, String>,
}

impl SecretVolume {
    pub fn new(files: &[(&str, &str)]) -> Result<SecretVolume> {
        let mut volume = SecretVolume { folder: Folder::new()?, version: 0, files: BTreeMap::new() };
        volume.publish(files)?;
        Ok(volume)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn path(&self, name: &str) -> String {
        self.at(name).display().to_string()
    }

    /// Swaps to a version in which these files have this content, and all others stay.
    pub fn publish(&mut self, files: &[(&str, &str)]) -> Result<()> {
        self.files.extend(files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())));
        let previous = format!("..v{}", self.version);
        self.version += 1;
        let version = format!("..v{}", self.version);
        fs::create_dir(self.at(&version))?;
        for (name, text) in &self.files {
            fs::write(self.at(&version).join(name), text)?;
            if fs::symlink_metadata(self.at(name)).is_err() {
                symlink(Path::new("..data").join(name), self.at(name))?;
            }
        }
        symlink(&version, self.at("..data_tmp"))?;
        fs::rename(self.at("..data_tmp"), self.at("..data"))?;
        if self.version > 1 {
            fs::remove_dir_all(self.at(&previous))?;
        }
        Ok(())
    }
}

/// Waits until a node uses exactly these values of a setting, in this order.
pub async fn until_in_use(node: &Node, setting: &str, values: &[&[u8]]) -> Result<()> {
    let expected: BTreeMap<String, String> =
        (1_usize..).zip(values).map(|(position, value)| (position.to_string(), fingerprint(value))).collect();
    let begun = Instant::now();
    loop {
        let found = in_use(&node.metrics().await?, setting);
        if found == expected {
            return Ok(());
        }
        ensure!(begun.elapsed() < IN_USE_TIMEOUT, "{setting}: {found:?} is in use, not {expected:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until a series of a node's metrics, without the prefix of the service, has this value.
pub async fn until_metric(node: &Node, series: &str, value: &str) -> Result<()> {
    let begun = Instant::now();
    loop {
        let metrics = node.metrics().await?;
        let line = metrics.lines().find(|line| line.contains(series));
        if line.and_then(|line| line.rsplit(' ').next()) == Some(value) {
            return Ok(());
        }
        ensure!(begun.elapsed() < IN_USE_TIMEOUT, "{series} is not {value}: {line:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The fingerprints of a setting in a page of metrics, by position.
fn in_use(metrics: &str, setting: &str) -> BTreeMap<String, String> {
    let label = |line: &str, name: &str| {
        let begin = line.split(&format!("{name}=\"")).nth(1)?;
        begin.split('"').next().map(ToOwned::to_owned)
    };
    let lines = metrics.lines().filter(|line| line.contains("_secrets_in_use{"));
    let of_setting = lines.filter(|line| label(line, "setting").as_deref() == Some(setting));
    of_setting.filter_map(|line| Some((label(line, "position")?, label(line, "fingerprint")?))).collect()
}
