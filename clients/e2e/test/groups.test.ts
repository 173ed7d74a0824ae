// What a group shows besides its messages: who has read, what changed, who removed a user, and archived rooms.
import { expect, test } from "vitest";
import { Chat } from "../support/chat.js";

const chat = new Chat();

test("a message in a group tells how many have read it, and its tick is blue when all have", async () => {
  const ada = await chat.signedIn("Ada", { gateway: 0 });
  const bo = await chat.signedIn("Bo", { gateway: 1 });
  const cy = await chat.signedIn("Cy", { gateway: 0 });
  const name = chat.name("Orchard");
  await chat.room(name, [ada.id, bo.id, cy.id]);
  await ada.open(name);
  await bo.open(name);
  await ada.say("the apples are ripe");
  await bo.row("the apples are ripe").waitFor();
  await ada.page.getByRole("button", { name: "Seen by 1 of 2" }).click();
  const dialog = ada.page.getByRole("dialog", { name: "Message details" });
  await dialog.getByText(bo.name).waitFor();
  await dialog.getByText(cy.name).waitFor();
  await chat.screenshot(ada, "message-seen-by");
  await ada.page.keyboard.press("Escape");
  await cy.open(name);
  await ada.expectTick("the apples are ripe", "Read");
  await ada.page.getByRole("button", { name: /Seen by/ }).waitFor({ state: "detached" });
});

test("changes of members and settings are lines among the messages, also after a reload", async () => {
  const ada = await chat.signedIn("Ada", { gateway: 0 });
  const bo = await chat.signedIn("Bo", { gateway: 1 });
  const name = chat.name("Cellar");
  const room = await chat.room(name, [ada.id, bo.id]);
  await chat.http(ada.id, "PUT", `/rooms/${room}/members/cy`);
  await chat.post(ada.id, room, "after the addition");
  await bo.open(name);
  await bo.messages.getByText(`${ada.name} added Cy`).waitFor();
  await chat.http(ada.id, "PUT", `/rooms/${room}/members/cy`, { role: "guest" });
  await chat.http(ada.id, "PATCH", `/rooms/${room}`, { slow_mode_s: 30 });
  const lines = [`${ada.name} made Cy a guest`, `${ada.name} turned on slow mode: one message in 30 seconds`];
  for (const line of lines) await bo.messages.getByText(line).waitFor();
  await bo.page.reload();
  for (const line of lines) await bo.messages.getByText(line).waitFor();
  await chat.screenshot(bo, "system-lines");
});

test("a removed user sees by whom, and archived rooms are last in the list", async () => {
  const ada = await chat.signedIn("Ada", { gateway: 0 });
  const bo = await chat.signedIn("Bo", { gateway: 1 });
  const [kept, archived] = [chat.name("Kept"), chat.name("Archived")];
  const keptRoom = await chat.room(kept, [ada.id, bo.id]);
  const archivedRoom = await chat.room(archived, [ada.id, bo.id]);
  await chat.post(ada.id, keptRoom, "first");
  await chat.post(ada.id, archivedRoom, "second");
  await bo.roomLink(kept).waitFor();
  await chat.http(ada.id, "PATCH", `/rooms/${archivedRoom}`, { archived: true });
  await bo.page.getByRole("heading", { name: "Archived", exact: true }).waitFor();
  const names = await bo.page.getByTestId("room-item").allTextContents();
  expect(names.at(-1)).toContain(archived);
  await bo.open(kept);
  // After its read mark the client may read the room again. After the removal the answer would be 404, which the
  // browser reports as an error.
  await bo.page.waitForTimeout(1_000);
  await chat.http(ada.id, "DELETE", `/rooms/${keptRoom}/members/${bo.id}`);
  await bo.page.getByRole("heading", { name: "You are not in this room" }).waitFor();
  await bo.page.getByText(`${ada.name} removed you from this room.`).waitFor();
  await chat.screenshot(bo, "room-removed");
});
