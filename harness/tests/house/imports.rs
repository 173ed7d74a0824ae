//! The rules of docs/ARCHITECTURE.md about imports, libraries and pure modules.

use std::collections::BTreeSet;

use crate::tree::{File, assert_none, read, sources};

#[test]
fn the_crates_import_each_other_only_as_the_architecture_says() {
    let rules: &[(&str, &[&str], &[&str])] = &[
        ("shared", &[], &["sea-orm", "sea-orm-migration", "sqlx"]),
        ("gateway", &["tidings-shared"], &["sea-orm", "sea-orm-migration", "sqlx"]),
        ("persistence", &["tidings-migrations", "tidings-shared"], &[]),
        ("migrations", &["tidings-shared"], &["redis"]),
        ("probe", &["tidings-shared"], &["redis", "sea-orm", "sea-orm-migration", "sqlx"]),
        ("files", &["tidings-persistence", "tidings-shared"], &["redis", "sea-orm-migration", "sqlx"]),
        ("push", &["tidings-persistence", "tidings-shared"], &["redis", "sea-orm-migration", "sqlx"]),
        ("webhooks", &["tidings-persistence", "tidings-shared"], &["redis", "sea-orm-migration", "sqlx"]),
        ("harness", &["tidings-shared"], &[]),
        ("xtask", &[], &["redis", "sea-orm", "sea-orm-migration", "sqlx", "tokio"]),
        ("bench", &["tidings-harness", "tidings-shared"], &["sea-orm", "sea-orm-migration", "sqlx"]),
    ];
    let manifest = read("Cargo.toml");
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = ")).unwrap();
    let members: BTreeSet<&str> = members.split('"').skip(1).step_by(2).collect();
    assert_eq!(members, rules.iter().map(|(member, ..)| *member).collect(), "a crate without a rule");
    let mut broken = Vec::new();
    for (member, allowed, forbidden) in rules {
        let manifest = read(&format!("{member}/Cargo.toml"));
        let name = |line: &str| line.split(['.', '=', ' ']).next().unwrap_or_default().to_owned();
        for dependency in manifest.lines().skip_while(|line| !line.contains("dependencies]")).map(name) {
            let ours = dependency.starts_with("tidings-") && !allowed.contains(&dependency.as_str());
            if ours || forbidden.contains(&dependency.as_str()) {
                broken.push(format!("{member} imports {dependency}"));
            }
        }
    }
    assert_none("imports", &broken);
}

#[test]
fn only_designated_modules_use_redis_streams_and_sql() {
    const SQL: &[&str] = &[
        "_raw(",
        "_unprepared(",
        "EntityTrait",
        "ActiveModel",
        "\"SELECT ",
        "\"INSERT ",
        "\"UPDATE ",
        "\"DELETE ",
        "\"WITH ",
    ];
    let rules: &[(&str, &[&str], &[&str])] = &[
        (
            "shared/src/",
            &["redis::"],
            &[
                "shared/src/log/",
                "shared/src/membership.rs",
                "shared/src/people.rs",
                "shared/src/presence.rs",
                "shared/src/presence/",
                "shared/src/rate/spent.rs",
            ],
        ),
        ("gateway/src/", &["redis::"], &["gateway/src/bus.rs", "gateway/src/bus/"]),
        ("gateway/src/", &["sea_orm", "sqlx"], &[]),
        (
            "persistence/src/",
            &["redis::"],
            &[
                "persistence/src/app.rs",
                "persistence/src/authority/",
                "persistence/src/ingest.rs",
                "persistence/src/ingest/",
            ],
        ),
        ("persistence/src/", &["XREAD"], &["persistence/src/ingest/"]),
        // The programs beside persistence use it without its feature `jobs`.
        ("persistence/src/", &["crate::jobs"], &["persistence/src/jobs/"]),
        (
            "persistence/src/",
            SQL,
            &[
                "persistence/src/writer/",
                "persistence/src/query/",
                "persistence/src/sql.rs",
                "persistence/src/jobs/sql/",
            ],
        ),
        ("webhooks/src/", SQL, &["webhooks/src/store/"]),
        ("files/src/", SQL, &["files/src/store.rs", "files/src/store/"]),
        ("push/src/", SQL, &["push/src/store.rs", "push/src/store/"]),
    ];
    let mut broken = Vec::new();
    for (place, words, allowed) in rules {
        let mut used = false;
        for file in sources(place) {
            let code = file.code();
            let named = words.iter().filter(|word| code.contains(**word));
            if file.is_in(allowed) {
                used |= named.count() > 0;
            } else {
                broken.extend(named.map(|word| format!("{} names {word:?}", file.path)));
            }
        }
        assert!(used || allowed.is_empty(), "{allowed:?} name none of {words:?}: the rule checks nothing");
    }
    assert_none("used outside the designated modules", &broken);
}

#[test]
fn pure_modules_use_no_io_and_no_clock() {
    const PURE: &[&str] = &[
        "files/src/file.rs",
        "files/src/media.rs",
        "files/src/metadata.rs",
        "files/src/metadata/",
        "files/src/preview.rs",
        "files/src/preview/",
        "gateway/src/hub.rs",
        "gateway/src/hub/",
        "gateway/src/client/auth_state.rs",
        "gateway/src/commands/gate.rs",
        "gateway/src/commands/gate/",
        "gateway/src/socket_io/dialect.rs",
        "gateway/src/socket_io/dialect/",
        "gateway/src/socket_io/namespace.rs",
        "gateway/src/socket_io/packet.rs",
        "gateway/src/socket_io/recovery.rs",
        "gateway/src/socket_io/recovery/",
        "gateway/src/socket_io/translation.rs",
        "gateway/src/transport/bucket.rs",
        "gateway/src/transport/decoder.rs",
        "gateway/src/transport/decoder/",
        "gateway/src/transport/deflate.rs",
        "gateway/src/transport/engine/body.rs",
        "gateway/src/transport/engine/error.rs",
        "gateway/src/transport/engine/query.rs",
        "gateway/src/transport/session_id.rs",
        "gateway/src/transport/extension.rs",
        "gateway/src/transport/frame.rs",
        "gateway/src/transport/frame/",
        "gateway/src/transport/handshake.rs",
        "gateway/src/transport/header.rs",
        "gateway/src/transport/inflate.rs",
        "gateway/src/transport/kind.rs",
        "gateway/src/transport/outbox.rs",
        "gateway/src/transport/packet.rs",
        "gateway/src/transport/wheel.rs",
        "persistence/src/batch.rs",
        "persistence/src/batch/",
        "persistence/src/ingest/owned_partitions.rs",
        "persistence/src/jobs/import/line.rs",
        "persistence/src/jobs/import/line/",
        "persistence/src/membership/deciding.rs",
        "persistence/src/query/cursor.rs",
        "persistence/src/query/search/pending_hits.rs",
        "persistence/src/search.rs",
        "persistence/src/search/",
        "persistence/src/writer/seeds/plan.rs",
        "push/src/device.rs",
        "push/src/notification.rs",
        "push/src/outcome.rs",
        "push/src/schedule.rs",
        "shared/src/command_fields.rs",
        "shared/src/emoji.rs",
        "shared/src/grapheme.rs",
        "shared/src/log/record.rs",
        "shared/src/log/subscriber/protocol.rs",
        "shared/src/log/subscriber/resp.rs",
        "shared/src/log/tail.rs",
        "shared/src/message.rs",
        "shared/src/message/attachment.rs",
        "shared/src/message/attachment/",
        "shared/src/protocol/",
        "shared/src/visibility.rs",
        "shared/src/outbound/address.rs",
        "webhooks/src/endpoint.rs",
        "webhooks/src/sender/message.rs",
        "webhooks/src/outcome.rs",
        "webhooks/src/sender/schedule.rs",
    ];
    const IMPURE: &[&str] = &[
        ".await",
        "async fn",
        "tokio::",
        "redis::",
        "sea_orm",
        "sqlx",
        "reqwest",
        "actix_web",
        "std::fs",
        "TcpStream",
        "SystemTime",
        "Instant::now",
        "Utc::now",
        "now_v7",
        "rand::",
        "thread::",
    ];
    let sources = sources("");
    let mut broken = Vec::new();
    for place in PURE {
        let files: Vec<&File> = sources.iter().filter(|file| file.is_in(&[place])).collect();
        assert!(!files.is_empty(), "{place} does not exist");
        for file in files {
            let code = file.code();
            let named = IMPURE.iter().filter(|word| code.contains(**word));
            broken.extend(named.map(|word| format!("{} names {word:?}", file.path)));
        }
    }
    assert_none("not pure", &broken);
}
