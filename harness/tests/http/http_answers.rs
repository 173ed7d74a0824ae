//! HTTP answers: `304 Not Modified`, compression and streaming; and the refusal of malformed requests. Uses a whole
//! stack.

use std::io::Read;

use anyhow::{Context, Result, ensure};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tidings_harness::{SharedStack, Stack, System, memory::resident};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn start_stack() -> Result<Stack> {
    Stack::builder().gateways(0).start().await
}

async fn get(stack: &SharedStack, path: &str, headers: &[(&str, &str)]) -> Result<(u16, HeaderMap, Vec<u8>)> {
    request(stack, reqwest::Method::GET, path, headers).await
}

async fn request(
    stack: &SharedStack,
    method: reqwest::Method,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<(u16, HeaderMap, Vec<u8>)> {
    let url = format!("{}/v1{path}", stack.persistence(0).url());
    let mut request = tidings_harness::http::client().request(method, url).bearer_auth(stack.token("alice"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await?;
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    Ok((status, headers, answer.bytes().await?.to_vec()))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Whether `Vary` tells caches that the answer depends on `Accept-Encoding`.
fn varies_by_encoding(headers: &HeaderMap) -> bool {
    let lists = headers.get_all("vary").iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|name| name.trim() == "accept-encoding")
}

fn gunzip(body: &[u8]) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(body).read_to_end(&mut plain)?;
    Ok(plain)
}

async fn new_room_with_messages(stack: &impl System, count: usize) -> Result<String> {
    let alice = stack.http("alice");
    let room = alice.new_room(&["bob"]).await?;
    for n in 0..count {
        alice
            .send(&room, &format!("c{n}"), "as long as a message is in most rooms of this kind")
            .await?
            .expect(201);
    }
    Ok(room)
}

#[tokio::test]
async fn known_answer_is_not_modified_until_it_changes() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = new_room_with_messages(&stack, 3).await?;
    for path in [format!("/rooms/{room}/messages"), "/me/rooms".to_owned(), "/openapi.json".to_owned()] {
        let (status, headers, body) = get(&stack, &path, &[]).await?;
        let tag = header(&headers, "etag").to_owned();
        ensure!(status == 200 && tag.starts_with("W/\"") && !body.is_empty(), "{path}: {headers:?}");
        assert_eq!(header(&headers, "cache-control"), "private, no-cache");
        for known in [tag.clone(), "*".to_owned(), format!("\"other\", {tag}"), tag[2..].to_owned()] {
            for method in [reqwest::Method::GET, reqwest::Method::HEAD] {
                let (status, headers, body) =
                    request(&stack, method, &path, &[("if-none-match", &known), ("accept-encoding", "gzip")])
                        .await?;
                assert_eq!(
                    (status, header(&headers, "etag"), body.len()),
                    (304, tag.as_str(), 0),
                    "{path} {known}"
                );
                ensure!(varies_by_encoding(&headers), "{headers:?}");
            }
        }
    }
    let path = format!("/rooms/{room}/messages");
    let tag = header(&get(&stack, &path, &[]).await?.1, "etag").to_owned();
    stack.http("alice").send(&room, "more", "x").await?.expect(201);
    let (status, headers, _) = get(&stack, &path, &[("if-none-match", &tag)]).await?;
    ensure!(status == 200 && header(&headers, "etag") != tag, "the answer changed");

    // Refusals and answers to commands have no ETag.
    let (status, headers, _) = get(&stack, "/rooms/nowhere", &[("if-none-match", "*")]).await?;
    ensure!(status == 404 && header(&headers, "etag").is_empty(), "{headers:?}");
    let (status, headers, _) =
        request(&stack, reqwest::Method::POST, &path, &[("if-none-match", "*")]).await?;
    ensure!(status == 400 && header(&headers, "etag").is_empty(), "{headers:?}");
    Ok(())
}

#[tokio::test]
async fn long_answer_is_compressed_when_client_accepts_gzip() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = new_room_with_messages(&stack, 20).await?;
    let path = format!("/rooms/{room}/messages");
    let (_, plain_headers, plain) = get(&stack, &path, &[]).await?;
    ensure!(header(&plain_headers, "content-encoding").is_empty(), "{plain_headers:?}");
    for accepted in ["gzip", "br, gzip;q=0.5", "gzip, deflate, br, zstd"] {
        let (status, headers, body) = get(&stack, &path, &[("accept-encoding", accepted)]).await?;
        assert_eq!((status, header(&headers, "content-encoding")), (200, "gzip"), "{accepted}");
        ensure!(header(&headers, "content-type").starts_with("application/json"), "{headers:?}");
        ensure!(body.len() * 3 < plain.len(), "{} of {}", body.len(), plain.len());
        assert_eq!(gunzip(&body)?, plain);
        // The plain and the compressed form have the same ETag.
        assert_eq!(header(&headers, "etag"), header(&plain_headers, "etag"));
    }
    for accepted in ["", "br", "gzip;q=0", "identity;q=0", "identity;q=0, gzip;q=0", "*;q=0", "gzip;q=x"] {
        let (status, headers, body) = get(&stack, &path, &[("accept-encoding", accepted)]).await?;
        assert_eq!((status, header(&headers, "content-encoding")), (200, ""), "{accepted}");
        assert_eq!(body, plain, "{accepted}");
    }
    // Short answers and refusals stay uncompressed. All of them have `Vary`.
    for (path, status) in [(format!("/rooms/{room}/receipts"), 200), ("/rooms/nowhere".to_owned(), 404)] {
        let (got, headers, body) = get(&stack, &path, &[("accept-encoding", "gzip")]).await?;
        assert_eq!((got, header(&headers, "content-encoding")), (status, ""), "{path}");
        ensure!(serde_json::from_slice::<Value>(&body).is_ok());
        ensure!(varies_by_encoding(&headers), "{headers:?}");
    }
    // HEAD leaves the connection usable.
    let client = tidings_harness::http::client();
    let url = format!("{}/v1{path}", stack.persistence(0).url());
    for _ in 0..3 {
        let head = client.head(&url).bearer_auth(stack.token("alice")).header("accept-encoding", "gzip");
        let answer = head.send().await?;
        ensure!(answer.status() == 200 && answer.bytes().await?.is_empty());
    }
    Ok(())
}

#[tokio::test]
async fn export_streams_with_and_without_compression() -> Result<()> {
    let stack = start_stack().await?;
    let room = stack.http("alice").new_room(&[]).await?;
    // Random text stays long when it is compressed.
    stack
        .database()
        .query(&format!(
            "INSERT INTO messages (room_id, seq, id, sender_id, client_id, kind, content, at, last_seq) \
             SELECT '{room}', n, gen_random_uuid(), 'alice', 'c' || n, 'text', \
               (SELECT string_agg(md5((g * n)::text), '') FROM generate_series(1, 25) g), now(), n \
             FROM generate_series(1, 40000) n; UPDATE rooms SET head_seq = 40000 WHERE id = '{room}'; \
             INSERT INTO search_progress VALUES ('{room}', 40000)"
        ))
        .await?;
    let pid = stack.persistence(0).pid().context("persistence does not run")?;
    let url = format!("{}/v1/me/export", stack.persistence(0).url());
    for coding in ["identity", "gzip"] {
        let before = resident(pid)?;
        let request = tidings_harness::http::client().get(&url).bearer_auth(stack.token("alice"));
        let mut answer =
            request.header("accept-encoding", coding).header("if-none-match", "*").send().await?;
        let headers = answer.headers().clone();
        assert_eq!((answer.status().as_u16(), header(&headers, "etag")), (200, ""), "{coding}");
        assert_eq!(header(&headers, "content-encoding"), coding.trim_start_matches("identity"));
        assert_eq!((header(&headers, "content-length"), header(&headers, "cache-control")), ("", "no-store"));
        let (mut body, mut peak) = (Vec::new(), 0);
        while let Some(chunk) = answer.chunk().await? {
            body.extend_from_slice(&chunk);
            peak = peak.max(resident(pid)?);
        }
        ensure!(body.len() > 17 * 1024 * 1024, "{coding}: {} bytes", body.len());
        ensure!(
            peak < before + 16 * 1024 * 1024,
            "{coding}: from {before} to {peak} bytes for {} bytes",
            body.len()
        );
        let plain = if coding == "gzip" { gunzip(&body)? } else { body };
        let mut lines = plain.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let last: Value = serde_json::from_slice(lines.next_back().context("no lines")?)?;
        assert_eq!(last["type"], "end", "{coding}");
    }
    Ok(())
}

/// Sends raw bytes; returns status, `Content-Type` and body of the answer.
async fn send_raw_request(stack: &Stack, head: &str, body: &[u8]) -> Result<(u16, String, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", stack.persistence(0).ports().public)).await?;
    let token = stack.token("alice");
    let length =
        if head.contains("chunked") { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    let head =
        format!("{head}\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n{length}\r\n");
    stream.write_all(head.as_bytes()).await?;
    // The server may refuse the request early, and close the connection while the body is still being sent.
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) =
        answer.split_once("\r\n\r\n").with_context(|| format!("no answer to {head}: {answer}"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
    let content_type = head.lines().find_map(|line| line.strip_prefix("content-type: "));
    Ok((status, content_type.unwrap_or_default().to_owned(), body.to_owned()))
}

#[tokio::test]
async fn malformed_request_is_refused_with_a_code() -> Result<()> {
    let stack = start_stack().await?;
    let room = new_room_with_messages(&stack, 1).await?;
    let long = format!("/v1/rooms?query={}", "a".repeat(20_000));
    for (path, status) in [
        ("/v1/rooms/%FF", 400),
        ("/v1/rooms/%00", 400),
        ("/v1/rooms/%zz", 400),
        ("/v1/rooms/%", 400),
        ("/v1/rooms/a%2Fb", 400),
        ("/v1/rooms/%2e%2e", 400),
        ("/v1/rooms?query=%00", 400),
        ("/v1/rooms?query=%FF%zz%", 200),
        ("/v1/rooms?limit=99999999999999999999999999999", 200),
        ("/v1/rooms?limit=%30%31", 200),
        ("/v1/rooms?limit=1e9", 400),
        ("/v1/rooms?limit=-1", 400),
        ("/v1/rooms?cursor=%00", 400),
        ("/v1/rooms?&&==&%3D=&limit", 200),
        ("/v1/search?q=%00", 200),
        ("/v1/search?q=%F0%9F%98%80%C2%AD", 200),
        ("/v1/presence?user=%00", 400),
        (&long, 400),
        (&format!("/v1/rooms/{room}/messages/99999999999999999999999"), 404),
        (&format!("/v1/rooms/{room}/messages/0x1"), 400),
        (&format!("/v1/rooms/{room}/messages?before=99999999999999999999999"), 200),
        (&format!("/v1/rooms/{room}/events?epoch=%00"), 409),
        (&format!("/v1/rooms/{room}/events?after=99999999999999999999999"), 200),
        (&format!("/v1/rooms/{room}/messages/1/reactions/%FF"), 405),
        ("/v1/rooms/../rooms", 404),
        ("/", 404),
        ("/v2/rooms", 404),
    ] {
        let (got, content_type, body) =
            send_raw_request(&stack, &format!("GET {path} HTTP/1.1"), b"").await?;
        assert_eq!(got, status, "{path}: {body}");
        let expected = if status == 200 { "application/json" } else { "application/problem+json" };
        assert_eq!(content_type, expected, "{path}: {body}");
    }

    let send = format!("POST /v1/rooms/{room}/messages HTTP/1.1");
    let good = |id: &str| json!({"client_id": id, "content": "x"}).to_string().into_bytes();
    let types = [
        "text/plain",
        "application/xml",
        "multipart/form-data",
        "a/b; c=",
        ";;;",
        "application/json; charset=utf-16",
    ];
    for (number, content_type) in types.into_iter().enumerate() {
        let head = format!("{send}\r\ncontent-type: {content_type}");
        let (status, _, body) = send_raw_request(&stack, &head, &good(&format!("t{number}"))).await?;
        assert_eq!(status, 201, "{content_type}: {body}");
    }
    let large = vec![b' '; 70_000];
    let chunked = format!("{:x}\r\n{}\r\n0\r\n\r\n", large.len(), " ".repeat(large.len())).into_bytes();
    let deep = format!(
        "{{\"client_id\":\"d\",\"content\":\"x\",\"metadata\":{{\"a\":{}{}}}}}",
        "[".repeat(900),
        "]".repeat(900)
    );
    for (extra, body, status, code) in [
        ("", b"".to_vec(), 400, "bad_request"),
        ("", b"\xff\xfe".to_vec(), 400, "bad_request"),
        ("", b"{\"client_id\":\"s\",\"content\":\"\\ud800\"}".to_vec(), 400, "bad_request"),
        ("", b"{\"client_id\":\"n\",\"content\":\"\\u0000\"}".to_vec(), 400, "bad_request"),
        (
            "",
            b"{\"client_id\":\"n\",\"content\":\"x\",\"metadata\":{\"a\":1e999}}".to_vec(),
            400,
            "bad_request",
        ),
        ("", deep.into_bytes(), 400, "bad_request"),
        ("", b"[]".to_vec(), 400, "bad_request"),
        ("\r\ncontent-encoding: gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec(), 400, "bad_request"),
        ("", large, 413, "too_large"),
        ("\r\ntransfer-encoding: chunked", chunked, 413, "too_large"),
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let (got, content_type, answer) = send_raw_request(&stack, &format!("{send}{extra}"), &body).await?;
        assert_eq!(got, status, "{extra} {shown}: {answer}");
        assert_eq!(content_type, "application/problem+json", "{extra} {shown}");
        ensure!(answer.contains(&format!("\"code\":\"{code}\"")), "{extra} {shown}: {answer}");
    }
    let edit = format!("PATCH /v1/rooms/{room}/messages/1 HTTP/1.1");
    let (_, _, answer) = send_raw_request(&stack, &edit, b"").await?;
    ensure!(answer.contains("\"field\":\"content\""), "an edit without a body: {answer}");
    let log = std::fs::read_to_string(stack.folder().join("persistence-0.log"))?;
    ensure!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
    Ok(())
}
