//! The names of contents, and of what is derived from them, in a folder and in a bucket. Pure.

use tidings_shared::ids::FileId;

/// Name of the marker, which shows that a storage is the one of the stored files.
pub const MARKER: &str = "tidings-files";

/// What the service itself makes from the content of a file. Its name is that of the content and a suffix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Derived {
    /// A small image of an image.
    Preview,
    /// An image without its metadata. Only in a bucket: in a folder it replaces the upload.
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
