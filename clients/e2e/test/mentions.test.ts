import { expect, test } from "vitest";
import { Chat } from "../support/chat.js";

const chat = new Chat();

test("a chosen name becomes a mention, which the other user sees and whose badge is apart", async () => {
  const [ada, bo] = [await chat.signedIn("Ada"), await chat.signedIn("Bo")];
  const name = chat.name("Mentions");
  await chat.room(name, [ada.id, bo.id]);
  await bo.roomLink(name).waitFor();
  await ada.open(name);
  await ada.composer.pressSequentially("tea, @bo");
  await ada.page.getByRole("option", { name: bo.name }).waitFor();
  await ada.composer.press("Enter");
  expect(await ada.composer.inputValue()).toBe(`tea, @${bo.name} `);
  await ada.composer.press("Enter");
  await bo.roomLink(name).getByText("an unread message mentions you").waitFor({ state: "attached" });
  await bo.open(name);
  await bo.page.getByRole("article", { name: /mentions you/ }).waitFor();
});

test("a room without notifications is marked in the list", async () => {
  const ada = await chat.signedIn("Ada");
  const name = chat.name("Quiet");
  await chat.room(name, [ada.id]);
  await ada.roomLink(name).click({ button: "right" });
  await ada.page.getByRole("menuitemradio", { name: "No notifications" }).click();
  await ada.roomLink(name).getByText(", no notifications").waitFor({ state: "attached" });
});
