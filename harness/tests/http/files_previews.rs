//! Previews of images, and the metadata that is removed from them.

use std::io::{Cursor, Write};

use anyhow::{Context, Result, ensure};
use flate2::{Compression, Crc, write::ZlibEncoder};
use image::metadata::Orientation;
use image::{ImageDecoder, ImageFormat, ImageReader, Rgb, RgbImage};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::files::{FileUser, FilesNode, Reply};
use tidings_harness::memory;

use crate::files_uploads::{id_of, png, send_file, start_stack};
use crate::webhooks::until;

/// What an image must not tell others.
pub const POSITION: &[u8] = b"position 48.2082 16.3738";

/// A photo as a phone stores it: 1,200 x 800 pixels that a viewer turns clockwise, with a position in its EXIF data,
/// and a second image with a position after it. The top left quarter of the stored pixels is red, the rest is blue.
pub fn photo() -> Result<Vec<u8>> {
    let pixels = RgbImage::from_fn(1_200, 800, |x, y| {
        if x < 600 && y < 400 { Rgb([220, 20, 20]) } else { Rgb([20, 20, 220]) }
    });
    let mut plain = Cursor::new(Vec::new());
    pixels.write_to(&mut plain, ImageFormat::Jpeg)?;
    let plain = plain.into_inner();
    // One entry: the orientation 6. The position stands for further entries.
    let entry = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let exif = [b"Exif\0\0".as_slice(), entry, POSITION].concat();
    let length = u16::try_from(exif.len() + 2)?.to_be_bytes();
    Ok([&plain[..2], b"\xff\xe1", &length, &exif, &plain[2..], b"\xff\xd8", POSITION].concat())
}

pub fn contains(content: &[u8], part: &[u8]) -> bool {
    content.windows(part.len()).any(|window| window == part)
}

/// The orientation that a viewer applies, and the pixels as they are stored.
fn read(content: &[u8], format: ImageFormat) -> Result<(Orientation, RgbImage)> {
    let mut decoder = ImageReader::with_format(Cursor::new(content), format).into_decoder()?;
    let orientation = decoder.orientation()?;
    Ok((orientation, image::DynamicImage::from_decoder(decoder)?.to_rgb8()))
}

pub async fn preview_address(user: &FileUser, room: &str, seq: u64, file: &Value) -> Result<Reply> {
    user.address(room, seq, &format!("{}?preview=1", id_of(file))).await
}

pub fn url_of(address: &Value) -> &str {
    address["url"].as_str().unwrap_or_default()
}

/// A grey PNG that declares these sides. Its data has `rows` rows of zeros.
fn grey_png(width: u32, height: u32, rows: u32) -> Result<Vec<u8>> {
    let mut pixels = ZlibEncoder::new(Vec::new(), Compression::fast());
    let row = vec![0; width as usize + 1];
    (0..rows).try_for_each(|_| pixels.write_all(&row))?;
    let sides = [width.to_be_bytes(), height.to_be_bytes()].concat();
    let mut content = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in [
        (b"IHDR", [sides.as_slice(), b"\x08\0\0\0\0"].concat()),
        (b"IDAT", pixels.finish()?),
        (b"IEND", Vec::new()),
    ] {
        let mut checksum = Crc::new();
        checksum.update(kind);
        checksum.update(&data);
        content.extend_from_slice(&u32::try_from(data.len())?.to_be_bytes());
        content.extend_from_slice(kind);
        content.extend_from_slice(&data);
        content.extend_from_slice(&checksum.sum().to_be_bytes());
    }
    Ok(content)
}

#[tokio::test]
async fn photo_loses_its_position_and_stays_upright() -> Result<()> {
    let stack = start_stack().await?;
    let node = FilesNode::start(&stack, "files", &[]).await?;
    let (alice, bob) = (node.user(&stack.token("alice")), node.user(&stack.token("bob")));
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let content = photo()?;
    let file = alice.upload(&room, "photo.jpg", "image/jpeg", &content).await?;
    let attachment = &file["attachment"];
    ensure!(attachment["width"] == 800 && attachment["height"] == 1_200, "{file}");
    ensure!(attachment["blurhash"].as_str().is_some_and(|hash| hash.len() == 28), "{file}");
    // The file tells of the upload, the attachment of what is downloaded.
    ensure!(file["size"] == content.len() && attachment["size"].as_u64() < file["size"].as_u64(), "{file}");
    let path = format!("/v1/rooms/{room}/files/{}", id_of(&file));
    ensure!(alice.get(&path).await?.expect(200).json() == file, "a later answer differs");
    let seq = send_file(&stack.http("alice"), &room, &file).await?;
    let shown = stack.http("bob").get(&format!("/rooms/{room}/messages/{seq}")).await?.expect(200).body;
    ensure!(shown["attachments"] == json!([attachment]), "{shown}");

    let original = bob.download(&room, seq, &id_of(&file)).await?.expect(200).bytes;
    ensure!(attachment["size"] == original.len() && !contains(&original, POSITION));
    let (orientation, pixels) = read(&original, ImageFormat::Jpeg)?;
    ensure!(orientation == Orientation::Rotate90, "{orientation:?}");
    ensure!(pixels == read(&content, ImageFormat::Jpeg)?.1, "the pixels differ");

    let address = preview_address(&bob, &room, seq, &file).await?.expect(200).json();
    let preview = node.user("").get(url_of(&address)).await?.expect(200);
    ensure!(preview.header("content-type") == "image/jpeg", "{:?}", preview.headers);
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; sandbox"),
        ("cache-control", "private, max-age=300, immutable"),
    ] {
        ensure!(preview.header(name) == value, "{name}: {:?}", preview.headers);
    }
    ensure!(!contains(&preview.bytes, POSITION) && !contains(&preview.bytes, b"Exif"));
    let (orientation, pixels) = read(&preview.bytes, ImageFormat::Jpeg)?;
    ensure!(orientation == Orientation::NoTransforms && pixels.dimensions() == (427, 640));
    // Turned clockwise, the red quarter is at the top right.
    for (x, y, is_red) in [(10, 10, false), (410, 10, true), (410, 630, false)] {
        let Rgb([red, _, blue]) = *pixels.get_pixel(x, y);
        ensure!((red > blue) == is_red, "{x} {y}: {red} {blue}");
    }
    ensure!(node.metrics().await?.contains("tidings_files_previews_total{result=\"made\"} 1"));
    Ok(())
}

#[tokio::test]
async fn preview_is_refused_to_non_viewers_and_at_altered_addresses() -> Result<()> {
    let stack = start_stack().await?;
    let node = FilesNode::start(&stack, "files", &[]).await?;
    let user = |name: &str| node.user(&stack.token(name));
    let (alice, bob, eve, nobody) = (user("alice"), user("bob"), user("eve"), node.user(""));
    let http = stack.http("alice");
    let room = http.new_room(&["bob"]).await?;
    let file = alice.upload(&room, "photo.jpg", "image/jpeg", &photo()?).await?;
    let seq = send_file(&http, &room, &file).await?;
    for (reader, status) in [(&alice, 200), (&bob, 200), (&eve, 404), (&nobody, 401)] {
        ensure!(preview_address(reader, &room, seq, &file).await?.status == status, "{status}");
    }
    let address = preview_address(&bob, &room, seq, &file).await?.expect(200).json();
    let whole = bob.address(&room, seq, &id_of(&file)).await?.expect(200).json();
    ensure!(!url_of(&whole).contains("preview") && url_of(&address).ends_with("&preview=1"));
    // The signed address of a preview does not serve the file, and the other way round.
    for forged in [
        url_of(&address).replace("&preview=1", ""),
        url_of(&address).replace("preview", "review"),
        format!("{}&preview=1", url_of(&whole)),
    ] {
        let _refused = nobody.get(&forged).await?.expect(403);
    }
    // Without a preview, the address leads to the file itself.
    let plain = alice.upload(&room, "a.txt", "text/plain", b"hello").await?;
    let plain_at = send_file(&http, &room, &plain).await?;
    let address = preview_address(&bob, &room, plain_at, &plain).await?.expect(200).json();
    ensure!(nobody.get(url_of(&address)).await?.expect(200).bytes == b"hello");
    http.remove_member(&room, "bob").await?.expect(200);
    let _refused = preview_address(&bob, &room, seq, &file).await?.expect(404);
    Ok(())
}

#[tokio::test]
async fn bombs_are_stored_without_previews_and_memory_stays_bounded() -> Result<()> {
    let stack = start_stack().await?;
    let node = FilesNode::start(&stack, "files", &[]).await?;
    let alice = node.user(&stack.token("alice"));
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let before = memory::peak(node.pid().context("not running")?)?;
    // One that only declares its pixels, and one that has them: 256 MiB in a few MiB.
    let bombs = [grey_png(60_000, 60_000, 1)?, grey_png(16_384, 16_384, 16_384)?];
    ensure!(bombs.iter().all(|bomb| bomb.len() < 8 << 20), "the bombs are large");
    for bomb in &bombs {
        let file = alice.upload(&room, "bomb.png", "image/png", bomb).await?;
        ensure!(file["state"] == "ready" && file["attachment"]["width"].is_null(), "{file}");
        let seq = send_file(&stack.http("alice"), &room, &file).await?;
        ensure!(alice.download(&room, seq, &id_of(&file)).await?.expect(200).bytes == *bomb);
    }
    let growth = memory::peak(node.pid().context("not running")?)?.saturating_sub(before);
    ensure!(growth < 128 << 20, "grew by {growth} bytes");
    // A damaged image, and one that still gets its preview.
    let content = photo()?;
    let damaged = [&content[..300], b"\xff\xd9"].concat();
    let damaged = alice.upload(&room, "a.jpg", "image/jpeg", &damaged).await?;
    ensure!(damaged["state"] == "ready" && damaged["attachment"]["width"].is_null(), "{damaged}");
    let good = alice.upload(&room, "good.jpg", "image/jpeg", &content).await?;
    ensure!(good["attachment"]["width"] == 800, "{good}");
    let metrics = node.metrics().await?;
    for (result, count) in [("too_large", 2), ("undecodable", 1), ("made", 1), ("timeout", 0)] {
        let line = format!("tidings_files_previews_total{{result=\"{result}\"}} {count}");
        ensure!(metrics.contains(&line), "{line}: {metrics}");
    }
    Ok(())
}

#[tokio::test]
async fn preview_is_removed_with_its_file() -> Result<()> {
    let stack = start_stack().await?;
    let settings = [
        ("TIDINGS_FILES_DELETE_GRACE_S", "1"),
        ("TIDINGS_FILES_ORPHAN_AFTER_S", "15"),
        ("TIDINGS_FILES_CHECK_EVERY_S", "1"),
    ];
    let node = FilesNode::start(&stack, "files", &settings).await?;
    let alice = node.user(&stack.token("alice"));
    let http = stack.http("alice");
    let room = http.new_room(&["bob"]).await?;
    let file = alice.upload(&room, "photo.jpg", "image/jpeg", &photo()?).await?;
    let seq = send_file(&http, &room, &file).await?;
    let path = node.path_of(&id_of(&file));
    let preview = path.with_extension("preview");
    ensure!(path.exists() && preview.exists(), "{preview:?}");
    ensure!(http.request(Method::DELETE, &format!("/rooms/{room}/messages/{seq}"), None).await?.status < 300);
    until("file and preview are gone", async || Ok(!path.exists() && !preview.exists())).await
}

#[tokio::test]
async fn operator_may_keep_metadata_and_limit_images() -> Result<()> {
    let stack = start_stack().await?;
    let keeping = FilesNode::start(&stack, "keeping", &[("TIDINGS_FILES_KEEP_METADATA", "true")]).await?;
    let alice = keeping.user(&stack.token("alice"));
    let http = stack.http("alice");
    let room = http.new_room(&["bob"]).await?;
    let content = photo()?;
    let file = alice.upload(&room, "photo.jpg", "image/jpeg", &content).await?;
    ensure!(file["attachment"]["size"] == content.len() && file["attachment"]["height"] == 1_200, "{file}");
    let seq = send_file(&http, &room, &file).await?;
    ensure!(alice.download(&room, seq, &id_of(&file)).await?.expect(200).bytes == content);
    let address = preview_address(&alice, &room, seq, &file).await?.expect(200).json();
    ensure!(!contains(&alice.get(url_of(&address)).await?.expect(200).bytes, POSITION));

    // An image whose metadata cannot be removed is refused, whatever type it declares.
    let small = [("TIDINGS_FILES_MAX_IMAGE_BYTES", "2000")];
    let limiting = FilesNode::start(&stack, "limiting", &small).await?;
    let limited = limiting.user(&stack.token("alice"));
    let declared = limited.create(&room, "photo.jpg", "image/jpeg", &content).await?.expect(400);
    ensure!(declared.reason() == "image_bytes", "{declared:?}");
    let hidden =
        limited.create(&room, "photo.bin", "application/x-photo", &content).await?.expect(201).json();
    let upload = hidden["upload"]["url"].as_str().context("no upload")?;
    let _stored = limited.append(upload, 0, content.clone()).await?.expect(204);
    let complete = format!("/v1/rooms/{room}/files/{}/complete", id_of(&hidden));
    let refused = limited.post(&complete).await?.expect(400);
    ensure!(refused.reason() == "image_bytes" && refused.offset() == Some(0), "{refused:?}");
    // Content that only begins like an image is unknown bytes.
    let odd = [b"\x89PNG, but no image".as_slice(), POSITION].concat();
    let odd = limited.upload(&room, "a.png", "image/png", &odd).await?;
    ensure!(odd["attachment"]["media_type"] == "application/octet-stream", "{odd}");
    let _image = limited.upload(&room, "b.png", "image/png", &png(2_000, 1)).await?;
    Ok(())
}
