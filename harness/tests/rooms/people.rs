//! The directory of people: found by the beginnings of words of names and ids, and only in rooms that are shared.

use anyhow::{Result, ensure};
use serde_json::json;
use tidings_harness::{Http, Stack, http::encode};

/// The ids of the people whom the query finds, in the order of the answer.
async fn find(http: &Http, query: &str, rest: &str) -> Result<Vec<String>> {
    let answer = http.get(&format!("/me/people?query={}{rest}", encode(query))).await?.expect(200).body;
    let people = answer["people"].as_array().into_iter().flatten();
    Ok(people.filter_map(|person| person["user"].as_str().map(ToOwned::to_owned)).collect())
}

// Covers: GET /me/people.
#[tokio::test]
async fn people_are_found_by_words_of_names_in_shared_rooms_only() -> Result<()> {
    let stack = Stack::shared().await?;
    let root = stack.http("root").with_token(&stack.admin_token("root"));
    for (user, name) in [("zoe", "Zoë Lang"), ("bob", "Robert Zobel"), ("zora", "Zora"), ("mal", "Mal Zorn")]
    {
        root.put_user(user, json!({"name": name})).await?.expect(200);
    }
    let (alice, mal) = (stack.http("alice"), stack.http("mal"));
    let kitchen = alice.new_room(&["zoe", "bob"]).await?;
    let garden = alice.new_room(&["bob"]).await?;
    mal.new_room(&["zora"]).await?;

    ensure!(find(&alice, "zo", "").await? == ["bob", "zoe"]);
    ensure!(find(&alice, "ZOE l", "").await? == ["zoe"]);
    ensure!(find(&alice, "bo", "").await? == ["bob"]);
    ensure!(find(&alice, "", "").await? == ["bob", "zoe"], "the user is no person of the directory");
    ensure!(find(&alice, "zor", "").await?.is_empty(), "a person who shares no room is found");
    ensure!(find(&alice, "zo", &format!("&room={garden}")).await? == ["bob"]);
    ensure!(find(&mal, "zo", "").await? == ["zora"]);
    mal.get(&format!("/me/people?query=zo&room={kitchen}")).await?.expect(404);
    let found = alice.get("/me/people?query=zoe").await?.expect(200).body;
    ensure!(found == json!({"people": [{"user": "zoe", "name": "Zoë Lang", "picture": null}]}), "{found}");
    let refused = alice.get(&format!("/me/people?query={}", "x".repeat(201))).await?.expect(400).body;
    ensure!(refused["field"] == "query", "{refused}");

    // Former members and blocked users are not found.
    alice.remove_member(&kitchen, "zoe").await?.expect(200);
    ensure!(find(&alice, "zo", "").await? == ["bob"]);
    root.put_user("bob", json!({"blocked": true})).await?.expect(200);
    ensure!(find(&alice, "", "").await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn at_most_twenty_people_are_found() -> Result<()> {
    let stack = Stack::shared().await?;
    let members: Vec<String> = (0..30).map(|user| format!("user-{user:02}")).collect();
    let members: Vec<&str> = members.iter().map(String::as_str).collect();
    let alice = stack.http("alice");
    alice.new_room(&members).await?;
    ensure!(find(&alice, "user", "").await? == &members[..20]);
    ensure!(find(&alice, "user-2", "").await? == &members[20..]);
    ensure!(find(&alice, "29", "").await? == ["user-29"]);
    Ok(())
}
