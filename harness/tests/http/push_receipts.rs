//! Receipts of Expo: when they are asked for, by whom, and what follows from them.

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::Stack;
use tidings_harness::push::{AppService, PushNode, RECEIPTS};

use crate::push::say;
use crate::push_native::{EXPO, register, start, until_app};
use crate::push_services::outcome;
use crate::webhooks::until;

const TICKETS: &str = "SELECT count(*) FROM push_tickets";
const MAKE_DUE: &str = "UPDATE push_tickets SET check_at = now()";

fn error(code: &str) -> Value {
    json!({ "status": "error", "message": "m", "details": { "error": code } })
}

/// Registers apps of Expo for bob, and tells them of a message, whose tickets are then stored.
async fn tell(stack: &Stack, service: &AppService, node: &PushNode, tokens: &[&str]) -> Result<()> {
    for token in tokens {
        register(stack, node, "expo", token).await?;
    }
    let alice = stack.http("alice");
    let room = alice.new_room(&["bob"]).await?;
    let seq = say(&alice, &room, "hello").await?;
    for token in tokens {
        until_app(service, token, &("message".to_owned(), room.clone(), seq)).await?;
    }
    until_tickets(stack, tokens.len()).await
}

async fn until_tickets(stack: &Stack, count: usize) -> Result<()> {
    let wanted = count.to_string();
    until(&format!("{count} tickets"), async || Ok(stack.database().value(TICKETS).await? == wanted)).await
}

async fn devices(stack: &Stack) -> Result<Vec<Vec<String>>> {
    stack.database().query("SELECT address FROM push_devices ORDER BY address").await
}

#[tokio::test]
async fn receipts_remove_gone_devices_and_count_other_errors() -> Result<()> {
    let (stack, service, node) = start(&[]).await?;
    let tokens = ["gone", "good", "limited", "refused"].map(|name| format!("ExponentPushToken[{name}]"));
    let [gone, good, limited, refused] = tokens.each_ref().map(String::as_str);
    service.set_receipt(gone, error("DeviceNotRegistered"));
    service.set_receipt(limited, error("MessageRateExceeded"));
    service.set_receipt(refused, error("InvalidCredentials"));
    tell(&stack, &service, &node, &[gone, good, limited, refused]).await?;
    let early = "SELECT count(*) FROM push_tickets WHERE check_at - sent_at <> interval '15 minutes'";
    ensure!(stack.database().value(early).await? == "0", "receipts are asked for too early or too late");
    ensure!(service.requests(RECEIPTS).is_empty(), "a receipt was asked for at once");

    // Nothing is lost while Expo fails, and it is not asked for the same receipts again at once.
    service.answer(RECEIPTS, 503, Some(5), Value::Null);
    stack.database().query(MAKE_DUE).await?;
    until("a failed request", async || Ok(!service.requests(RECEIPTS).is_empty())).await?;
    ensure!(stack.database().value(TICKETS).await? == "4" && devices(&stack).await?.len() == 4);
    service.accept(RECEIPTS);
    stack.database().query(MAKE_DUE).await?;
    until_tickets(&stack, 0).await?;
    let left = devices(&stack).await?;
    ensure!(left == [[good], [limited], [refused]], "{left:?}");
    until("all are counted", async || {
        Ok([
            outcome(&node, "gone").await?,
            outcome(&node, "status").await?,
            outcome(&node, "credentials").await?,
        ] == [1, 2, 1])
    })
    .await?;
    ensure!(
        outcome(&node, "sent").await? == 4 && service.violations().is_empty(),
        "{:?}",
        service.violations()
    );
    Ok(())
}

#[tokio::test]
async fn missing_receipt_is_asked_for_again_until_a_day_is_over() -> Result<()> {
    let (stack, service, node) = start(&[]).await?;
    service.set_receipt(EXPO, Value::Null);
    tell(&stack, &service, &node, &[EXPO]).await?;
    for count in 1..=2 {
        stack.database().query(MAKE_DUE).await?;
        until("a request", async || Ok(service.receipt_requests(EXPO) == count)).await?;
        let again = "SELECT count(*) FROM push_tickets WHERE check_at > now() + interval '14 minutes'";
        until("the next time", async || Ok(stack.database().value(again).await? == "1")).await?;
    }
    let old = "UPDATE push_tickets SET check_at = now(), sent_at = now() - interval '24 hours'";
    stack.database().query(old).await?;
    until_tickets(&stack, 0).await?;
    ensure!(service.receipt_requests(EXPO) == 2, "an old receipt was asked for");
    ensure!(devices(&stack).await?.len() == 1);
    Ok(())
}

#[tokio::test]
async fn device_that_registers_again_survives_an_earlier_receipt() -> Result<()> {
    let (stack, service, node) = start(&[]).await?;
    let (again, moved) = (EXPO, "ExponentPushToken[moved]");
    for token in [again, moved] {
        service.set_receipt(token, error("DeviceNotRegistered"));
    }
    tell(&stack, &service, &node, &[again, moved]).await?;
    register(&stack, &node, "expo", again).await?;
    stack.http("carol").my_rooms("").await?.expect(200);
    let form = json!({ "kind": "expo", "token": moved });
    node.user(&stack, "carol").post("/me/devices", form).await?.expect(201);
    ensure!(stack.database().value(TICKETS).await? == "0", "tickets of an earlier registration are left");

    // The same while the message is being sent.
    let alice = stack.http("alice");
    let room = alice.new_room(&["bob"]).await?;
    let answers = service.hold_answers().await;
    let seq = say(&alice, &room, "on its way").await?;
    until_app(&service, again, &("message".to_owned(), room, seq)).await?;
    register(&stack, &node, "expo", again).await?;
    drop(answers);
    until("the message is sent", async || Ok(outcome(&node, "sent").await? == 3)).await?;
    ensure!(stack.database().value(TICKETS).await? == "0", "a ticket of an earlier registration was stored");

    // The same while the receipts are on their way: this transaction does what a registration does.
    tell(&stack, &service, &node, &[again]).await?;
    // It ends its sleep only when the request has come, because the reader waits for its lock after that.
    let registration = "DO $$ BEGIN UPDATE push_devices SET failures = 0; BEGIN PERFORM pg_sleep(100); \
        EXCEPTION WHEN query_canceled THEN NULL; END; DELETE FROM push_tickets; END $$";
    let (registered, asked) = tokio::join!(stack.database().query(registration), async {
        stack.database().until_asleep().await?;
        stack.database().query(MAKE_DUE).await?;
        until("a request", async || Ok(service.receipt_requests(again) == 1)).await?;
        let wake = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity \
            WHERE wait_event = 'PgSleep' AND datname = current_database()";
        stack.database().query(wake).await.map(drop)
    });
    registered?;
    asked?;
    until("the receipt is recorded", async || Ok(outcome(&node, "gone").await? == 1)).await?;
    let owners = "SELECT user_id, address FROM push_devices ORDER BY user_id";
    let rows = stack.database().query(owners).await?;
    ensure!(rows == [["bob", again], ["carol", moved]], "{rows:?}");
    Ok(())
}

#[tokio::test]
async fn replicas_share_receipts_and_tickets_of_device_are_limited() -> Result<()> {
    let (stack, service, node) = start(&[]).await?;
    let of_service = service.settings(stack.folder())?;
    let settings: Vec<(&str, &str)> =
        of_service.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let other = PushNode::start(&stack, "push-2", &settings).await?;
    tell(&stack, &service, &node, &[EXPO]).await?;
    let fill = "INSERT INTO push_tickets (id, device_id, check_at) \
        SELECT 'made-' || n, d.id, now() + interval '1 hour' FROM push_devices d, generate_series(1, 99) n";
    stack.database().query(fill).await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&["bob"]).await?;
    let seq = say(&alice, &room, "one too many").await?;
    until_app(&service, EXPO, &("message".to_owned(), room, seq)).await?;
    until("nothing waits", async || {
        Ok(stack.database().query("SELECT seq FROM push_pending").await?.is_empty())
    })
    .await?;
    ensure!(stack.database().value(TICKETS).await? == "100", "a device has over 100 tickets");
    // Expo does not know these tickets, so they stay.
    let more = "INSERT INTO push_tickets (id, device_id, check_at) \
        SELECT 'more-' || n, d.id, now() FROM push_devices d, generate_series(1, 5000) n";
    stack.database().query(more).await?;
    let asked_ids = || -> Vec<Value> {
        let requests = service.requests(RECEIPTS).into_iter();
        requests.filter_map(|request| request.body["ids"].as_array().cloned()).flatten().collect()
    };
    until("all are asked for", async || Ok(asked_ids().len() >= 5_000)).await?;
    let mut asked = asked_ids();
    let count = asked.len();
    asked.sort_by_key(Value::to_string);
    asked.dedup();
    ensure!(asked.len() == count, "{} receipts were asked for twice", count - asked.len());
    drop(other);
    Ok(())
}

#[tokio::test]
async fn erased_user_leaves_no_tickets() -> Result<()> {
    let (stack, service, node) = start(&[]).await?;
    tell(&stack, &service, &node, &[EXPO]).await?;
    stack.http("bob").request(Method::DELETE, "/me", None).await?.expect(204);
    ensure!(stack.database().value(TICKETS).await? == "0" && devices(&stack).await?.is_empty());
    Ok(())
}
