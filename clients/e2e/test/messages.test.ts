import { expect, test } from "vitest";
import { Chat } from "../support/chat.js";
import type { Person } from "../support/person.js";

const chat = new Chat();

async function twoUsersInRoom(roomName: string): Promise<{ ada: Person; bo: Person; room: string }> {
  const ada = await chat.signedIn("Ada", { gateway: 0 });
  const bo = await chat.signedIn("Bo", { gateway: 1 });
  const name = chat.name(roomName);
  const room = await chat.room(name, [ada.id, bo.id]);
  await ada.open(name);
  await bo.open(name);
  return { ada, bo, room };
}

test("both users see and count a reaction, and a click removes it", async () => {
  const { ada, bo } = await twoUsersInRoom("Reactions");
  await ada.say("tea is ready");
  await bo.row("tea is ready").hover();
  await bo.row("tea is ready").getByRole("button", { name: "React" }).click();
  await bo.page.getByRole("dialog", { name: "React with" }).waitFor();
  await chat.screenshot(bo, "emoji-picker");
  await bo.page.getByRole("button", { name: "party" }).click();
  const chip = (person: Person, count: number) =>
    person.row("tea is ready").getByRole("button", { name: new RegExp(`^🎉 ${count}, `) });
  await chip(ada, 1).waitFor();
  expect(await chip(ada, 1).getAttribute("aria-pressed")).toBe("false");
  await chip(ada, 1).click();
  await chip(bo, 2).waitFor();
  await chip(ada, 2).waitFor();
  expect(await chip(ada, 2).getAttribute("aria-pressed")).toBe("true");
  await chat.screenshot(ada, "reactions");
  await chip(ada, 2).click();
  await chip(bo, 1).waitFor();
  await chip(bo, 1).click();
  for (const person of [ada, bo])
    await person.row("tea is ready").getByText("🎉").waitFor({ state: "detached" });
});

test("both users see an edited message, and the owner sees its earlier version", async () => {
  const { ada, bo } = await twoUsersInRoom("Edits");
  await bo.say("the frist words");
  await ada.row("the frist words").waitFor();
  // The arrow up in an empty input edits the user's last message.
  await bo.composer.press("ArrowUp");
  await bo.page.getByText("Edit message").waitFor();
  expect(await bo.composer.inputValue()).toBe("the frist words");
  await bo.composer.fill("the first words");
  await bo.page.getByRole("button", { name: "Save" }).click();
  for (const person of [ada, bo]) await person.row("the first words").getByText("edited").waitFor();
  await ada.expectTexts(["the first words"]);
  expect(await bo.composer.inputValue()).toBe("");
  await ada.choose("the first words", "Details");
  const details = ada.page.getByRole("dialog", { name: "Message details" });
  await details.getByText("the frist words").waitFor();
  await chat.screenshot(ada, "dialog-details");
  await ada.page.keyboard.press("Escape");
  await details.waitFor({ state: "detached" });
});

test("both users see a placeholder for a deleted message, also after a reload", async () => {
  const { ada, bo } = await twoUsersInRoom("Deletes");
  await ada.say("never mind");
  await ada.say("but mind this");
  await bo.row("never mind").waitFor();
  await ada.choose("never mind", "Delete");
  const dialog = ada.page.getByRole("dialog", { name: "Delete message?" });
  await chat.screenshot(ada, "dialog-delete");
  await dialog.getByRole("button", { name: "Cancel" }).click();
  await dialog.waitFor({ state: "detached" });
  await ada.expectTexts(["never mind", "but mind this"]);
  await ada.choose("never mind", "Delete");
  await dialog.getByRole("button", { name: "Delete" }).click();
  const expectedTexts = ["This message was deleted", "but mind this"];
  for (const person of [ada, bo]) await person.expectTexts(expectedTexts);
  await bo.page.reload();
  await bo.expectTexts(expectedTexts);
  // A member cannot change the messages of others.
  const menu = await bo.openMenuOf("but mind this");
  await menu.getByRole("menuitem", { name: "Reply" }).waitFor();
  expect(await menu.getByRole("menuitem", { name: /Edit|Delete/ }).count()).toBe(0);
});

test("a quote shows the current text of its message, and no text of a deleted one", async () => {
  const { ada, bo } = await twoUsersInRoom("Quoted");
  await ada.say("the frist words");
  await bo.choose("the frist words", "Reply");
  await bo.say("an answer");
  const quoteButton = (person: Person, words: string) =>
    person
      .row("an answer")
      .getByRole("button", { name: new RegExp(`^In reply to (You|Ada.*?)\\s*${words}$`) });
  for (const person of [ada, bo]) await quoteButton(person, "the frist words").waitFor();
  await ada.composer.press("ArrowUp");
  await ada.composer.fill("the first words");
  await ada.page.getByRole("button", { name: "Save" }).click();
  for (const person of [ada, bo]) await quoteButton(person, "the first words").waitFor();
  await ada.choose("the first words", "Delete");
  await ada.page
    .getByRole("dialog", { name: "Delete message?" })
    .getByRole("button", { name: "Delete" })
    .click();
  for (const person of [ada, bo]) await quoteButton(person, "Message deleted").waitFor();
});

test("a reply quotes its message, and a click on the quote scrolls to it", async () => {
  const ada = await chat.person("Ada", { gateway: 0 });
  const bo = await chat.person("Bo", { gateway: 1 });
  const name = chat.name("Quotes");
  await chat.filledRoom(name, ["carol", ada.id, bo.id], { count: 60, text: "question #" });
  for (const person of [ada, bo]) {
    await person.signIn();
    await person.open(name);
    await person.row("question 60").waitFor();
  }
  await bo.messages.evaluate((box) => box.scrollTo(0, 500));
  await bo.row("question 15").waitFor();
  await bo.choose("question 15", "Reply");
  await bo.page.getByText("Reply to Carol").waitFor();
  await bo.composer.fill("at five");
  await bo.composer.press("Enter");
  await ada.row("at five").waitFor();
  const quote = ada.row("at five").getByRole("button", { name: /^In reply to Carol\s*question 15$/ });
  await quote.waitFor();
  expect(
    await ada.messages.evaluate((box) => box.scrollTop + box.clientHeight >= box.scrollHeight - 20),
  ).toBe(true);
  await quote.click();
  const target = ada.rows.first().page().locator("article[data-flash]");
  await target.getByText("question 15").waitFor();
  const [at, box] = [await target.boundingBox(), await ada.messages.boundingBox()];
  expect(at && box && at.y >= box.y && at.y + at.height <= box.y + box.height).toBe(true);
});
