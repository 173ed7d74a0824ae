//! A copy of the data of a Redis at one moment. A restart with this copy has the effect of a takeover by a replica that
//! lagged.

use std::path::Path;

use anyhow::Result;

use super::Redis;
use crate::folder::Folder;

/// A copy of the data files of a Redis. It contains every write that Redis answered before the copy.
pub struct RedisImage(Folder);

impl Redis {
    /// Copies the present data while Redis runs.
    ///
    /// # Errors
    /// When the files cannot be copied.
    pub fn image(&self) -> Result<RedisImage> {
        let folder = Folder::new()?;
        copy_folder(&self.data, &folder.path().join("redis"))?;
        Ok(RedisImage(folder))
    }

    /// Kills Redis and starts it with the data of an image on the same port.
    ///
    /// # Errors
    /// When the files cannot be copied, or Redis does not start.
    pub async fn restart_from(&self, image: &RedisImage) -> Result<()> {
        self.kill();
        std::fs::remove_dir_all(&self.data)?;
        copy_folder(&image.0.path().join("redis"), &self.data)?;
        self.start_and_wait().await
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
