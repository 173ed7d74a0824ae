import { expect, test } from "vitest";
import { Chat } from "../support/chat.js";

const chat = new Chat();

test("two tabs of one user show the same, and reading in one clears the unread count in the other", async () => {
  const ada = await chat.signedIn("Ada");
  const bo = await chat.signedIn("Bo");
  const [name, quiet] = [chat.name("Both"), chat.name("Quiet")];
  await chat.room(quiet, [ada.id]);
  const room = await chat.room(name, [bo.id, ada.id]);
  const tab = await chat.openTab(ada);
  await tab.open(quiet);
  await expect.poll(() => tab.page.title()).toBe(`${quiet} · Tidings`);
  await bo.open(name);
  await bo.say("one");
  await bo.say("two");

  for (const page of [ada, tab]) {
    await page.roomLink(name).getByText("2 unread").waitFor();
    await page.roomLink(name).getByText(`${bo.name}: two`).waitFor();
  }
  await expect.poll(() => ada.page.title()).toBe("(2) Tidings");
  await expect.poll(() => tab.page.title()).toBe(`(2) ${quiet} · Tidings`);

  await ada.open(name);
  await ada.row("two").waitFor();
  for (const page of [ada, tab]) await page.roomLink(name).getByText("unread").waitFor({ state: "detached" });
  await expect.poll(() => ada.page.title()).toBe(`${name} · Tidings`);
  await expect.poll(() => tab.page.title()).toBe(`${quiet} · Tidings`);

  // A message from one tab appears once in the other tab, as the user's own message.
  await tab.open(name);
  await ada.say("from the first tab");
  await tab.say("from the second tab");
  const all = ["one", "two", "from the first tab", "from the second tab"];
  for (const page of [ada, tab, bo]) await page.expectTexts(all);
  await tab.expectTick("from the first tab", "Read");
  await ada.expectTick("from the second tab", "Read");
  await expect.poll(() => chat.history(ada.id, room)).toEqual(all);
});

test("two users in two tabs of one browser stay separate", async () => {
  const ada = await chat.signedIn("Ada");
  const second = await chat.openTab(ada);
  await second.account.click();
  await second.page.getByRole("menuitemradio", { name: "Online" }).waitFor();
  await chat.screenshot(second, "menu-you");
  await second.page.getByRole("menuitem", { name: "Sign out" }).click();
  const bo = await chat.person("Bo", { context: ada.page.context() });
  await bo.account.waitFor({ state: "detached" });
  await bo.signIn();
  // The sign-out has ended Ada's other tab too.
  await ada.account.waitFor({ state: "detached" });
  await ada.signIn();
  const name = chat.name("One browser");
  const room = await chat.room(name, [ada.id, bo.id]);
  await ada.open(name);
  await bo.open(name);
  await ada.say("I am Ada");
  await bo.row("I am Ada").waitFor();
  await bo.say("and I am Bo");
  await ada.row("and I am Bo").waitFor();
  await ada.expectTick("I am Ada", "Read");
  expect(await bo.row("I am Ada").getAttribute("data-mine")).toBeNull();
  // Each tab keeps its user after a reload.
  await ada.page.reload();
  await bo.page.reload();
  await ada.account.filter({ hasText: ada.name }).waitFor();
  await bo.account.filter({ hasText: bo.name }).waitFor();
  for (const page of [ada, bo]) await page.expectTexts(["I am Ada", "and I am Bo"]);
  expect(await ada.row("I am Ada").getAttribute("data-mine")).toBe("true");
  const senders = await chat.http<{ messages: { sender: { id: string } }[] }>(
    ada.id,
    "GET",
    `/rooms/${room}/messages`,
  );
  expect(senders.messages.map(({ sender }) => sender.id)).toEqual([ada.id, bo.id]);
});
