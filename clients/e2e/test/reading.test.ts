import { expect, test } from "vitest";
import { Chat } from "../support/chat.js";

const chat = new Chat();

test("a room opens at the divider above its unread messages", async () => {
  const ada = await chat.person("Ada");
  const name = chat.name("Bulletin");
  await chat.filledRoom(name, ["carol", ada.id], { count: 60, text: "line #", read: 30 });
  await ada.signIn();
  await ada.roomLink(name).getByText("30 unread").waitFor();
  await ada.open(name);
  const divider = ada.messages.getByText("New messages");
  await divider.waitFor();
  const [at, box] = [await divider.boundingBox(), await ada.messages.boundingBox()];
  expect(at && box && at.y >= box.y && at.y < box.y + box.height / 2).toBe(true);
  const rowAboveDivider = ada.page.locator("article:has(+ [data-key=unread])");
  expect(await rowAboveDivider.locator(".tidings-bubble-text").textContent()).toBe("line 30");
  await chat.screenshot(ada, "unread-divider");
  // The messages further down are unread until the user jumps there.
  await ada.page.getByRole("button", { name: /^Jump to newest, \d+ new$/ }).click();
  await ada.row("line 60").waitFor();
  await ada.roomLink(name).getByText("unread").waitFor({ state: "detached" });
});

test("separators name the days: today, yesterday, a weekday, a date", async () => {
  const ada = await chat.signedIn("Ada");
  const name = chat.name("Days");
  const room = await chat.room(name, ["carol", ada.id]);
  const days = [400, 3, 1, 0];
  for (const ago of days) await chat.post("carol", room, `said ${ago} days ago`);
  for (const [at, ago] of days.entries()) {
    await chat.stack.sql(
      `UPDATE messages SET at = at - interval '${ago} days' WHERE room_id = '${room}' AND seq = ${at + 1}`,
    );
  }
  await ada.open(name);
  await ada.row("said 0 days ago").waitFor();
  const day = (ago: number, format: Intl.DateTimeFormatOptions) =>
    new Intl.DateTimeFormat("en-US", format).format(Date.now() - ago * 86_400_000);
  const labels = await ada.messages.locator(".tidings-row-day").allInnerTexts();
  expect(labels).toEqual([
    day(400, { day: "numeric", month: "long", year: "numeric" }),
    day(3, { weekday: "long" }),
    "Yesterday",
    "Today",
  ]);
});

test("search finds words in one room and in all rooms, and a click opens the message in its room", async () => {
  const ada = await chat.person("Ada");
  const [name, other] = [chat.name("Long talk"), chat.name("Other talk")];
  const room = await chat.filledRoom(name, ["carol"], { count: 80, text: "chatter #" });
  await chat.http("carol", "PATCH", `/rooms/${room}/messages/1`, {
    content: "the marmalade is on the upper shelf",
  });
  await chat.http("carol", "PUT", `/rooms/${room}/members/${ada.id}`);
  await chat.http(ada.id, "POST", `/rooms/${room}/read`, { seq: 80 });
  const second = await chat.room(other, ["carol", ada.id]);
  await chat.post("carol", second, "more marmalade, please");
  await ada.signIn();
  await ada.open(name);
  await ada.row("chatter 80").waitFor();
  await ada.page.getByRole("button", { name: "Search in this room" }).click();
  const panel = ada.page.getByRole("complementary", { name: "Search" });
  const results = panel.getByRole("region", { name: "Messages found" }).getByRole("button");
  await expect
    .poll(async () => {
      // A new message is in the search index only after a moment.
      await panel.getByLabel("Search messages").fill("");
      await panel.getByLabel("Search messages").fill("marmal");
      await panel.getByRole("status").getByText(/found/).waitFor();
      return results.count();
    })
    .toBe(1);
  expect(await results.locator("mark").allInnerTexts()).toEqual(["marmalade"]);
  await panel.getByText("All rooms").click();
  await expect.poll(() => results.count()).toBe(2);
  await results.filter({ hasText: other }).waitFor();
  await chat.screenshot(ada, "search");
  await results.filter({ hasText: "upper shelf" }).click();
  const target = ada.page.locator("article[data-flash]");
  await target.getByText("the marmalade is on the upper shelf").waitFor();
  await ada.row("chatter 5").first().waitFor();
  // The search in the sidebar covers all rooms and opens another room.
  await ada.page.getByLabel("Search rooms and messages").fill("please marmalade");
  await ada.page
    .getByRole("navigation")
    .getByRole("button", { name: /more marmalade, please/ })
    .click();
  await ada.page.getByRole("heading", { level: 1, name: other }).waitFor();
  await ada.row("more marmalade, please").waitFor();
});
