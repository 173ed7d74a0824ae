import { expect, test } from "vitest";
import { Chat } from "../support/chat.js";
import { focusedElement, pressUntilFocused } from "../support/keys.js";

const chat = new Chat();

test("a user does everything with the keyboard, and the focus is always visible", async () => {
  const ada = await chat.person("Ada");
  const { keyboard } = ada.page;
  const name = chat.name("Keys");
  const room = await chat.room(name, ["bo", ada.id]);
  await chat.post("bo", room, "no mouse today");

  await expect.poll(() => focusedElement(ada)).toMatchObject({ name: "Your name", visible: true });
  await keyboard.type(ada.name);
  await keyboard.press("Enter");
  await ada.waitUntilReady();
  await ada.roomLink(name).waitFor();
  await pressUntilFocused(ada, "Tab", new RegExp(`^${name}`));
  await keyboard.press("Enter");
  await ada.row("no mouse today").waitFor();
  await expect.poll(() => focusedElement(ada)).toMatchObject({ role: "textarea", visible: true });
  await keyboard.type("none indeed");
  await keyboard.press("Shift+Enter");
  await keyboard.type("in two lines");
  await keyboard.press("Enter");
  await ada.row("none indeed").getByText("in two lines").waitFor();
  expect(await ada.composer.inputValue()).toBe("");
  expect(await focusedElement(ada)).toMatchObject({ role: "textarea" });

  await pressUntilFocused(ada, "Shift+Tab", /^Messages of /);
  await pressUntilFocused(ada, "ArrowUp", /none indeed/);
  await pressUntilFocused(ada, "ArrowUp", /no mouse today/);
  await keyboard.press("Enter");
  await ada.page.getByRole("menu", { name: "Message" }).waitFor();
  expect((await focusedElement(ada)).name).toMatch(/^Reply/);
  await keyboard.press("Escape");
  await ada.page.getByRole("menu", { name: "Message" }).waitFor({ state: "detached" });
  expect((await focusedElement(ada)).name).toMatch(/no mouse today/);

  await keyboard.press("Enter");
  await pressUntilFocused(ada, "ArrowDown", /^React/);
  await keyboard.press("Enter");
  await ada.page.getByRole("dialog", { name: "React with" }).waitFor();
  await pressUntilFocused(ada, "ArrowRight", /^heart$/);
  await keyboard.press("Enter");
  await ada.row("no mouse today").getByRole("button", { name: /^❤️ 1/ }).waitFor();
  expect((await focusedElement(ada)).name).toMatch(/no mouse today/);

  await keyboard.press("r");
  await ada.page.getByText("Reply to Bo").waitFor();
  expect(await focusedElement(ada)).toMatchObject({ role: "textarea" });
  await keyboard.type("quite so");
  await keyboard.press("Escape");
  await ada.page.getByText("Reply to Bo").waitFor({ state: "detached" });

  await pressUntilFocused(ada, "Shift+Tab", /^Members$/);
  await keyboard.press("Enter");
  const panel = ada.page.getByRole("complementary", { name: "Members" });
  await panel.getByText("2 members").waitFor();
  await pressUntilFocused(ada, "Tab", /^Leave room$/);
  await keyboard.press("Enter");
  const dialog = ada.page.getByRole("dialog", { name: `Leave ${name}?` });
  await dialog.waitFor();
  // Tab never moves the focus out of the dialog.
  for (let step = 0; step < 5; step += 1) {
    await keyboard.press("Tab");
    expect(await dialog.evaluate((one) => one.contains(document.activeElement))).toBe(true);
  }
  await keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  expect((await focusedElement(ada)).name).toBe("Leave room");
  await keyboard.press("Escape");
  await panel.waitFor({ state: "detached" });
});

test("Tab walks every link and button of the message that has the focus", async () => {
  const ada = await chat.signedIn("Ada");
  const name = chat.name("Walk");
  const room = await chat.room(name, ["bo", ada.id]);
  const seq = await chat.post("bo", room, "the original");
  await chat.post("bo", room, "see https://one.example and https://two.example", { reply_to: seq });
  await ada.open(name);
  const row = ada.row("see https://one.example");
  await row.waitFor();
  await row.focus();
  const stops = [/^In reply to/, /one\.example$/, /two\.example$/, /^React$/, /^Reply$/, /^More actions$/];
  for (const stop of stops) await pressUntilFocused(ada, "Tab", stop, 1);
  await ada.page.keyboard.press("Escape");
  expect((await focusedElement(ada)).name).toMatch(/see https/);
  await ada.page.keyboard.press("Enter");
  await ada.page.getByRole("menuitem", { name: "Open https://two.example" }).waitFor();
});

test("a text typed anywhere goes to the input of the open room", async () => {
  const ada = await chat.signedIn("Ada");
  const name = chat.name("Anywhere");
  const room = await chat.room(name, ["bo", ada.id]);
  await chat.post("bo", room, "just type");
  await ada.open(name);
  await expect.poll(() => focusedElement(ada)).toMatchObject({ role: "textarea" });
  await ada.row("just type").waitFor();
  const { keyboard } = ada.page;
  // The page, a button and a message do not use these keys, so the text goes into the input.
  await ada.page.evaluate(() => (document.activeElement as HTMLElement).blur());
  await keyboard.type("one ");
  await ada.page.getByRole("button", { name: "Members" }).focus();
  await keyboard.type("two ");
  await ada.row("just type").focus();
  await keyboard.type("three");
  expect(await ada.composer.inputValue()).toBe("one two three");
  // Keys on a message keep their functions, and text that is typed into the search field stays in it.
  await ada.row("just type").focus();
  await keyboard.press("r");
  await ada.page.getByText("Reply to Bo").waitFor();
  await ada.page.getByLabel("Search rooms and messages").focus();
  await keyboard.type("four");
  expect(await ada.composer.inputValue()).toBe("one two three");
});

test("Ctrl+K finds a room by its name, and Alt with an arrow opens the next room", async () => {
  const ada = await chat.signedIn("Ada");
  const names = ["Apples", "Pears", "Plums"].map((fruit) => chat.name(fruit));
  const rooms: string[] = [];
  for (const name of names) {
    const room = await chat.room(name, [ada.id, "bo"]);
    await chat.post("bo", room, `welcome to ${name}`);
    rooms.push(room);
  }
  const heading = (name: string) => ada.page.getByRole("heading", { level: 1, name });
  const [apples = "", pears = "", plums = ""] = names;
  const { keyboard } = ada.page;
  // The room with the newest message comes first in the list.
  await expect
    .poll(() => ada.page.getByTestId("room-item").evaluateAll((all) => all.map((one) => one.dataset.room)))
    .toEqual([...rooms].reverse());
  await keyboard.press("Control+k");
  const dialog = ada.page.getByRole("dialog", { name: "Go to room" });
  await dialog.getByRole("option").nth(2).waitFor();
  await keyboard.type("pea");
  await expect.poll(() => dialog.getByRole("option").count()).toBe(1);
  await chat.screenshot(ada, "switcher");
  await keyboard.press("Enter");
  await heading(pears).waitFor();
  await expect.poll(() => focusedElement(ada)).toMatchObject({ role: "textarea" });
  await keyboard.press("Control+k");
  await dialog.getByRole("option").nth(2).waitFor();
  await keyboard.press("ArrowDown");
  expect(await dialog.getByRole("option", { selected: true }).textContent()).toContain(apples);
  await keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  await heading(pears).waitFor();

  await keyboard.press("Alt+ArrowDown");
  await heading(apples).waitFor();
  await keyboard.press("Alt+ArrowDown");
  await keyboard.press("Alt+ArrowUp");
  await heading(pears).waitFor();
  await keyboard.press("Alt+ArrowUp");
  await heading(plums).waitFor();
});

test("a text that is too long says so in words, and is not sent", async () => {
  const ada = await chat.signedIn("Ada");
  const name = chat.name("Limits");
  await chat.room(name, [ada.id, "bo"]);
  await ada.open(name);
  await ada.composer.fill("x".repeat(960));
  await ada.page.getByText("40 characters left").waitFor();
  await ada.composer.fill("x".repeat(1001));
  await ada.page.getByText("Too long by 1 character. A message has at most 1,000.").waitFor();
  expect(await ada.composer.getAttribute("aria-invalid")).toBe("true");
  await chat.screenshot(ada, "too-long");
  await ada.composer.press("Enter");
  expect((await ada.composer.inputValue()).length).toBe(1001);
  expect(await ada.rows.count()).toBe(0);
});
