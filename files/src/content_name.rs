//! Names of content files and of files derived from them, the same in a folder and in a bucket. Pure.

use tidings_shared::ids::FileId;

/// Name of the marker. A storage without it does not belong to the files in the database.
pub const MARKER: &str = "tidings-files";

/// A file that the service makes from the content of another one. Its name is the name of the content plus a suffix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Derived {
    /// The preview of an image.
    Preview,
    /// An image without its metadata. Used only in a bucket; in a folder this image replaces the upload.
    Clean,
}

impl Derived {
    /// Everything that may be derived. It is removed together with the content.
    pub const ALL: [Self; 2] = [Self::Preview, Self::Clean];

    /// The suffix of the name.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Preview => "preview",
            Self::Clean => "clean",
        }
    }
}

/// The name of the content of a file: two levels of folders by the last digits of the id, which are random, and the id.
pub fn object_name(file: &FileId) -> String {
    let id = file.as_str();
    let (_, outer_and_inner) = id.split_at(id.len() - 4);
    let (outer, inner) = outer_and_inner.split_at(2);
    format!("{outer}/{inner}/{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_a_content_has_two_levels_of_its_last_digits() {
        let id = FileId::parse("0190f2a4-8d3e-7000-8000-0a1b2c3d4e5f").unwrap();
        assert_eq!(object_name(&id), "4e/5f/0190f2a4-8d3e-7000-8000-0a1b2c3d4e5f");
    }
}
