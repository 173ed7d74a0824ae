import { expect, test } from "vitest";
import { Chat } from "../support/chat.js";
import type { Person } from "../support/person.js";

const chat = new Chat();

async function chooseRecipient(person: Person, recipient: Person): Promise<void> {
  await person.page.getByRole("button", { name: "Send privately" }).click();
  const picker = person.page.getByRole("dialog", { name: "Send privately" });
  await picker.getByRole("checkbox", { name: recipient.name }).check();
  await picker.getByRole("button", { name: "Done" }).click();
}

test("a private draft stays private through another room and a reload", async () => {
  const [ada, bo] = [await chat.signedIn("Ada"), await chat.signedIn("Bo")];
  const [name, other] = [chat.name("Plans"), chat.name("Elsewhere")];
  const room = await chat.room(name, [ada.id, bo.id, "carol"]);
  await chat.room(other, [ada.id]);
  await ada.open(name);
  await chooseRecipient(ada, bo);
  await ada.composer.fill("between us");
  await ada.open(other);
  await ada.roomLink(name).getByText("Draft:").waitFor();
  await ada.open(name);
  await ada.page.getByText(`Only ${bo.name} will see it`).waitFor();
  await ada.page.reload();
  await ada.page.getByText(`Only ${bo.name} will see it`).waitFor();
  expect(await ada.composer.inputValue()).toBe("between us");
  await ada.composer.press("Enter");
  await ada.row("between us").getByText(`Only for ${bo.name}`).waitFor();
  await expect.poll(() => chat.history(bo.id, room)).toEqual(["between us"]);
  expect(await chat.history("carol", room)).toEqual([]);
});

test("a reply to a private message is private, unless the user chooses otherwise", async () => {
  const [ada, bo] = [await chat.signedIn("Ada"), await chat.signedIn("Bo")];
  const name = chat.name("Replies");
  const room = await chat.room(name, [bo.id, ada.id, "carol"]);
  await chat.post(bo.id, room, "only for you", { visible_to: { users: [ada.id], roles: [] } });
  await ada.open(name);
  const reply = async () => {
    await ada.row("only for you").hover();
    await (await ada.openMenuOf("only for you")).getByRole("menuitem", { name: "Reply" }).click();
    await ada.page.getByText(`Only ${bo.name} will see it`).waitFor();
  };
  await reply();
  await chat.screenshot(ada, "reply-private");
  await ada.say("thank you");
  await ada.row("thank you").getByText(`Only for ${bo.name}`).waitFor();
  await expect.poll(() => chat.history(bo.id, room)).toEqual(["only for you", "thank you"]);
  expect(await chat.history("carol", room)).toEqual([]);
  await reply();
  await ada.page.getByRole("button", { name: "Send to everyone again" }).click();
  await ada.say("everyone may know");
  await expect.poll(() => chat.history("carol", room)).toEqual(["everyone may know"]);
});

test("tabs share a draft, and a send clears it in both", async () => {
  const ada = await chat.signedIn("Ada");
  const name = chat.name("Two tabs");
  await chat.room(name, [ada.id]);
  const tab = await chat.openTab(ada);
  for (const one of [ada, tab]) await one.open(name);
  await ada.composer.fill("from the first tab");
  await expect.poll(() => tab.composer.inputValue()).toBe("from the first tab");
  await tab.composer.press("Enter");
  await expect.poll(() => ada.composer.inputValue()).toBe("");
  await ada.row("from the first tab").waitFor();
});
