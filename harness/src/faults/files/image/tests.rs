//! The checker of previews passes right ones only.

use rand::SeedableRng;

use super::*;

/// A preview as the service makes it, turned by this orientation.
fn preview_of(photo: &Photo, orientation: Orientation) -> Vec<u8> {
    let image = image::load_from_memory(&photo.clean).unwrap();
    let is_large = image.width().max(image.height()) > MAX_PREVIEW_SIDE;
    let mut small = if is_large { image.thumbnail(MAX_PREVIEW_SIDE, MAX_PREVIEW_SIDE) } else { image };
    small.apply_orientation(orientation);
    let mut content = Cursor::new(Vec::new());
    small.to_rgb8().write_to(&mut content, ImageFormat::Jpeg).unwrap();
    content.into_inner()
}

#[test]
fn correct_preview_passes_and_unrotated_or_foreign_one_fails() {
    let mut rng = StdRng::seed_from_u64(7);
    let photos: Vec<Photo> = (0..10).map(|_| Photo::random(&mut rng).unwrap()).collect();
    let mut turned = 0;
    for (photo, other) in photos.iter().zip(&photos[1..]) {
        let reader = ImageReader::new(Cursor::new(&photo.clean)).with_guessed_format().unwrap();
        let orientation = reader.into_decoder().unwrap().orientation().unwrap();
        let right = preview_of(photo, orientation);
        photo.shown.check_preview(&right).unwrap();
        assert!(other.shown.check_preview(&right).is_err(), "a foreign preview passes");
        assert!(photo.shown.check_preview(&photo.upload).is_err() && has_position(&photo.upload));
        assert!(!has_position(&photo.clean));
        if orientation != Orientation::NoTransforms {
            turned += 1;
            assert!(photo.shown.check_preview(&photo.clean).is_err(), "an image that is turned passes");
            let unturned = preview_of(photo, Orientation::NoTransforms);
            assert!(photo.shown.check_preview(&unturned).is_err(), "{orientation:?} is not applied");
        }
    }
    assert!(turned > 5, "{turned}");
}
