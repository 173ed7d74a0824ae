//! `tidings-persistence export`: all data as lines that `import` reads on another system; an export can be resumed.

use crate::importing::{import, message_line, start_stack, write_lines};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tidings_harness::{Stack, node};

async fn export(stack: &Stack, arguments: &[&str]) -> Result<Vec<Value>> {
    Ok(export_with_stderr(stack, arguments).await?.0)
}

/// Returns the lines and the text on standard error.
async fn export_with_stderr(stack: &Stack, arguments: &[&str]) -> Result<(Vec<Value>, String)> {
    let mut command = tokio::process::Command::new(node::program("tidings-persistence")?);
    let output = command
        .arg("export")
        .args(arguments)
        .args(["--database-url", stack.database().url()])
        .output()
        .await?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout)?;
    let lines = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    Ok((lines, String::from_utf8(output.stderr)?))
}

/// The lines without the seqs of messages, which an import assigns anew. `reply_to` becomes the text of the message
/// that it names.
fn without_seqs(lines: &[Value]) -> Vec<Value> {
    let text_of = |room: &Value, id: &Value| {
        let is_it = |line: &&Value| line["type"] == "message" && line["room"] == *room && line["id"] == *id;
        lines.iter().find(is_it).map_or(Value::Null, |line| line["content"].clone())
    };
    let mut without_seqs: Vec<Value> = lines
        .iter()
        .map(|line| {
            let mut copy = line.clone();
            if line["type"] == "message" {
                copy["id"] = Value::Null;
                copy["reply_to"] = text_of(&line["room"], &line["reply_to"]);
            }
            copy
        })
        .collect();
    // Members may be in the line of their room or in lines of their own; the result is the same.
    without_seqs.retain(|line| line["type"] != "member");
    without_seqs
}

#[tokio::test]
async fn exported_data_can_be_imported_and_resumed() -> Result<()> {
    let (here, there) = (start_stack().await?, start_stack().await?);
    let mut lines = vec![
        json!({"type": "user", "id": "alice", "name": "Alice A.", "picture": "https://example.org/a"}),
        json!({"type": "room", "id": "general", "kind": "private", "name": "General", "created_by": "alice",
            "created_at": "2018-01-01T00:00:00Z", "metadata": {"topic": "tea"}, "members": [{"user": "bob", "role": "admin"}]}),
        json!({"type": "room", "id": "two", "kind": "direct", "created_by": "bob", "members": [{"user": "alice"}]}),
        json!({"type": "room", "id": "empty", "kind": "public", "created_by": "bob"}),
        json!({"type": "member", "room": "general", "user": "carol", "role": "guest"}),
        json!({"type": "message", "room": "general", "id": "m/1", "sender": "alice", "at": "2019-05-06T07:08:09Z",
            "content": "first\nZoë ☕", "kind": "note", "metadata": {"b": 1.0, "a": [2]}}),
        json!({"type": "message", "room": "general", "id": "m/2", "sender": "bob", "content": "answer", "reply_to": "m/1",
            "visible_to": {"users": ["alice"]}, "at": "2019-05-06T07:08:10Z"}),
        message_line("two", 1, "bob"),
    ];
    // More messages and members than fit into one page.
    lines.extend((10..1100).map(|id| message_line("general", id, "alice")));
    let crowd = (0..700).map(|number| json!({"user": format!("u{number:03}")}));
    lines.push(json!({"type": "room", "id": "crowd", "kind": "private", "created_by": "alice", "members": crowd.collect::<Vec<_>>()}));
    import(&here, &write_lines(here.folder(), "a.jsonl", lines)?, &["--strict"]).await?;
    let alice = here.http("alice");
    for (method, path, body) in [
        (
            "POST",
            "/rooms/general/messages",
            Some(json!({"client_id": "live", "content": "live", "attachments": []})),
        ),
        ("PUT", "/rooms/general/members/dave", Some(json!({"role": "member"}))),
    ] {
        let answer = alice.request(method.parse()?, path, body).await?;
        ensure!(answer.status < 300, "{path}: {} {}", answer.status, answer.body);
    }
    let deleted = "UPDATE messages SET deleted = true, content = '' WHERE content = 'words 10'";
    here.database().query(deleted).await?;

    let all = export(&here, &[]).await?;
    let count = |kind: &str| all.iter().filter(|line| line["type"] == kind).count();
    assert_eq!(
        (count("user"), count("room"), count("message")),
        (704, 4, 1 + 1 + 1 + 1089 + 1),
        "lines by type"
    );
    ensure!(all.iter().all(|line| line["metadata"]["imported"].is_null() && line["content"] != "words 10"));
    let summary =
        import(&there, &write_lines(there.folder(), "b.jsonl", all.clone())?, &["--strict"]).await?;
    ensure!(summary.starts_with("1093 messages, 4 rooms"), "{summary}");
    let again = export(&there, &[]).await?;
    for (was, is) in without_seqs(&all).iter().zip(&without_seqs(&again)) {
        ensure!(was == is || was["content"] == "live", "{was}\nbecame {is}");
    }
    let members = "SELECT room_id, user_id, role FROM members ORDER BY 1, 2";
    assert_eq!(here.database().query(members).await?, there.database().query(members).await?);

    for number in [0, 1, 499, 500, 501, 1089] {
        let places: Vec<usize> = (0..all.len())
            .filter(|at| all[*at]["room"] == "general" && all[*at]["type"] == "message")
            .collect();
        let at = places[number];
        let rest = export(&here, &["--after", &format!("general/{}", all[at]["id"])]).await?;
        ensure!(rest == all[at + 1..], "after line {at}: {:?}", rest.first());
    }
    let room = export(&here, &["--room", "two"]).await?;
    assert_eq!(
        room.iter().map(|line| line["type"].as_str().unwrap_or_default()).collect::<Vec<_>>(),
        ["room", "message"]
    );
    let first = all.iter().position(|line| line["id"] == "general").unwrap_or_default();
    let rest = export(&here, &["--after", "general/0"]).await?;
    ensure!(rest.last() == all.last() && rest.len() >= all.len() - first - 1, "{}", rest.len());
    ensure!(export(&here, &["--room", "nowhere"]).await.is_err());
    Ok(())
}

/// Sends each request as its user; all of them must succeed.
async fn send_all(stack: &Stack, requests: &[(&str, &str, &str, Option<Value>)]) -> Result<()> {
    for (user, method, path, body) in requests {
        let answer = stack.http(user).request(method.parse()?, path, body.clone()).await?;
        ensure!(answer.status < 300, "{path}: {} {}", answer.status, answer.body);
    }
    Ok(())
}

#[tokio::test]
async fn former_creator_does_not_regain_room_after_import() -> Result<()> {
    let (here, there) = (start_stack().await?, start_stack().await?);
    let room = |id: &str, by: &str, members: Value| json!({"type": "room", "id": id, "kind": "private", "created_by": by, "members": members});
    // In the crowd, the new owner is on the second page of members, and the creator on the first.
    let mut crowd: Vec<Value> = (0..600).map(|number| json!({"user": format!("u{number:03}")})).collect();
    crowd.push(json!({"user": "zoe", "role": "owner"}));
    let lines = [
        room(
            "removed",
            "alice",
            json!([{"user": "bob", "role": "admin"}, {"user": "carol", "role": "owner"}]),
        ),
        room("demoted", "alice", json!(crowd)),
        room("erased", "eve", json!([{"user": "bob", "role": "member"}, {"user": "carol", "role": "admin"}])),
        room("kept", "zoe", json!([{"user": "bob", "role": "owner"}])),
        room("left", "eve", json!([])),
        json!({"type": "room", "id": "one", "kind": "direct", "created_by": "eve", "members": [{"user": "bob"}]}),
        message_line("erased", 1, "bob"),
        message_line("erased", 2, "eve"),
        message_line("one", 1, "bob"),
    ];
    import(&here, &write_lines(here.folder(), "a.jsonl", lines)?, &["--strict"]).await?;
    let whisper = json!({"client_id": "w", "content": "for eve", "visible_to": {"users": ["eve"]},
        "mentions": ["eve", "bob"]});
    send_all(
        &here,
        &[
            ("carol", "DELETE", "/rooms/removed/members/alice", None),
            ("zoe", "PUT", "/rooms/demoted/members/alice", Some(json!({"role": "member"}))),
            ("bob", "POST", "/rooms/erased/messages", Some(whisper)),
        ],
    )
    .await?;
    // The erasure has begun and has changed nothing else yet.
    here.database()
        .query("UPDATE users SET erasing_at = now(), erasure_lease = now() + '1 hour' WHERE id = 'eve'")
        .await?;

    let (all, warnings) = export_with_stderr(&here, &[]).await?;
    let creator = |id: &str| {
        all.iter().find(|line| line["type"] == "room" && line["id"] == id).map(|line| &line["created_by"])
    };
    let creators = ["removed", "demoted", "erased", "kept", "left", "one"].map(creator);
    let names = ["carol", "zoe", "carol", "zoe"].map(|name| Some(json!(name)));
    assert_eq!(creators[..4].iter().map(|name| name.cloned()).collect::<Vec<_>>(), names);
    assert_eq!(creators[4..], [None, None]);
    ensure!(
        warnings.contains("room left is left out") && warnings.contains("room one is left out"),
        "{warnings}"
    );
    ensure!(!all.iter().any(|line| line.to_string().contains("\"eve\"")), "the export names the erased user");
    let whispered = all.iter().find(|line| line["content"] == "for eve").context("the whisper")?;
    assert_eq!(
        (&whispered["visible_to"]["users"], &whispered["mentions"]),
        (&json!(["bob"]), &json!(["bob"]))
    );

    import(&there, &write_lines(there.folder(), "b.jsonl", all)?, &["--strict"]).await?;
    let members = "SELECT room_id, user_id, role FROM members WHERE user_id <> 'eve' AND room_id NOT IN ('left', 'one', 'erased') \
                   ORDER BY 1, 2";
    assert_eq!(here.database().query(members).await?, there.database().query(members).await?);
    let erased = there
        .database()
        .query("SELECT user_id, role FROM members WHERE room_id = 'erased' ORDER BY 1")
        .await?;
    assert_eq!(erased, [["bob", "member"], ["carol", "owner"]]);
    let rest = export(&here, &["--after", "demoted/0"]).await?;
    assert_eq!((&rest[0]["user"], &rest[0]["role"]), (&json!("zoe"), &json!("owner")));
    import(&there, &write_lines(there.folder(), "c.jsonl", rest)?, &["--strict"]).await?;
    assert_eq!(here.database().query(members).await?, there.database().query(members).await?);
    Ok(())
}

#[tokio::test]
async fn client_metadata_under_import_key_is_exported_unchanged() -> Result<()> {
    let here = start_stack().await?;
    let room = json!({"type": "room", "id": "r", "kind": "private", "created_by": "alice"});
    import(
        &here,
        &write_lines(here.folder(), "a.jsonl", [room, message_line("r", 1, "alice")])?,
        &["--strict"],
    )
    .await?;
    let mine = json!({"imported": {"id": "1", "at": "1999-01-01T00:00:00Z"}, "a": 1});
    let metadata = json!({"imported": "by hand"});
    send_all(
        &here,
        &[
            (
                "alice",
                "POST",
                "/rooms/r/messages",
                Some(json!({"client_id": "c", "content": "x", "metadata": mine})),
            ),
            (
                "alice",
                "POST",
                "/rooms",
                Some(json!({"kind": "private", "name": "own", "metadata": metadata})),
            ),
        ],
    )
    .await?;
    let all = export(&here, &[]).await?;
    let messages: Vec<&Value> = all.iter().filter(|line| line["type"] == "message").collect();
    assert_eq!((&messages[0]["at"], messages[0].get("metadata")), (&json!("2019-05-06T07:08:09.000Z"), None));
    assert_eq!(messages[1]["metadata"], mine);
    ensure!(messages[1]["at"].as_str().is_some_and(|at| at > "2020"), "{}", messages[1]);
    let own = all.iter().find(|line| line["name"] == "own");
    assert_eq!(own.map(|line| &line["metadata"]), Some(&metadata));
    Ok(())
}
