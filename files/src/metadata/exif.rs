//! Reads the orientation of EXIF data, and writes EXIF data with the orientation only.

use image::metadata::Orientation;

/// Begins EXIF data in a JPEG. Some programs write it in other formats too.
pub const PREFIX: &[u8] = b"Exif\0\0";

/// The orientation in EXIF data.
pub fn orientation(exif: &[u8]) -> Option<Orientation> {
    Orientation::from_exif_chunk(exif.strip_prefix(PREFIX).unwrap_or(exif))
}

/// EXIF data (TIFF) with one entry, the orientation. None if the image is upright without it.
pub fn minimal(orientation: Orientation) -> Option<[u8; 26]> {
    if orientation == Orientation::NoTransforms {
        return None;
    }
    let mut tiff = *b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\0\0\0\0\0\0\0\0";
    tiff[18] = orientation.to_exif();
    Some(tiff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orientation_is_read_from_what_is_written() {
        assert_eq!(minimal(Orientation::NoTransforms), None);
        for number in 2..=8 {
            let expected = Orientation::from_exif(number).unwrap();
            let exif = minimal(expected).unwrap();
            assert_eq!(orientation(&exif), Some(expected));
            assert_eq!(orientation(&[PREFIX, &exif].concat()), Some(expected));
        }
        assert_eq!(orientation(b""), None);
        assert_eq!(orientation(b"II*\0\xff\xff\xff\xff"), None);
    }
}
