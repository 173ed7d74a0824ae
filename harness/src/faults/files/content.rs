//! The files that users share: plain bytes, and images with metadata.

use std::ops::Range;

use anyhow::{Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng, RngCore};
use serde_json::Value;

use super::image::{Photo, ShownImage};

/// Sizes of plain files: 2 to the power of these numbers, 1 KiB to 1 MiB.
const SIZE_EXPONENTS: Range<f64> = 10.0..20.0;
/// Sizes of large files: 8 to 12 MiB, which are two parts of an upload to a bucket.
const LARGE_SIZE_EXPONENTS: Range<f64> = 23.0..23.5;

/// The content of a file.
pub(super) struct Content {
    pub name: &'static str,
    pub media_type: &'static str,
    /// What the client sends.
    pub upload: Vec<u8>,
    /// `None` for plain bytes.
    photo: Option<Photo>,
}

impl Content {
    /// A random content: an image, or bytes. With a bucket a few are large.
    pub fn random(rng: &mut StdRng, with_bucket: bool) -> Result<Content> {
        if rng.random_ratio(1, 3) {
            let mut photo = Photo::random(rng)?;
            let (upload, media_type) = (std::mem::take(&mut photo.upload), photo.media_type);
            return Ok(Content { name: "shared image", media_type, upload, photo: Some(photo) });
        }
        let is_large = with_bucket && rng.random_ratio(1, 16);
        let exponents = if is_large { LARGE_SIZE_EXPONENTS } else { SIZE_EXPONENTS };
        let mut upload = vec![0; 2_f64.powf(rng.random_range(exponents)) as usize];
        rng.fill_bytes(&mut upload);
        Ok(Content { name: "shared.bin", media_type: "application/octet-stream", upload, photo: None })
    }

    /// What readers must get.
    pub fn download(&self) -> &[u8] {
        self.photo.as_ref().map_or(&self.upload, |photo| &photo.clean)
    }

    /// How readers must see the file. `None` if it is no image.
    pub fn image(&self) -> Option<&ShownImage> {
        self.photo.as_ref().map(|photo| &photo.shown)
    }

    /// Checks the object of the complete file.
    pub fn check_object(&self, file: &Value) -> Result<()> {
        let attachment = &file["attachment"];
        ensure!(file["size"] == self.upload.len() && attachment["file"] == file["id"], "{file}");
        ensure!(attachment["size"] == self.download().len(), "another size: {file}");
        if let Some(ShownImage { width, height, .. }) = self.image() {
            ensure!(attachment["media_type"] == self.media_type, "another type: {file}");
            let has_sides = attachment["width"] == *width && attachment["height"] == *height;
            ensure!(has_sides, "no preview, or not {width} x {height} pixels: {file}");
        }
        Ok(())
    }
}
