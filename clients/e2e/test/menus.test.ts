import { expect, test } from "vitest";
import { accessibilityFaults } from "../support/axe.js";
import { Chat } from "../support/chat.js";
import { focusedElement } from "../support/keys.js";
import type { Person } from "../support/person.js";

const chat = new Chat();
const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };

const messageMenu = (person: Person) => person.page.getByRole("menu", { name: "Message" });
const roomMenu = (person: Person, name: string) => person.page.getByRole("menu", { name: `Room ${name}` });

test("the right mouse button opens the menu of a message, whose link leads to the message", async () => {
  const device = { permissions: ["clipboard-read", "clipboard-write"] };
  const ada = await chat.person("Ada", { device });
  const name = chat.name("Links");
  const room = await chat.filledRoom(name, ["carol", ada.id], { count: 60, text: "entry #" });
  await ada.signIn();
  await ada.open(name);
  await ada.row("entry 60").waitFor();
  const seq = 52;
  const box = await ada.row(`entry ${seq}`).locator(".tidings-bubble").boundingBox();
  const at = { x: (box?.x ?? 0) + 20, y: (box?.y ?? 0) + 12 };
  await ada.page.mouse.click(at.x, at.y, { button: "right" });
  const menu = await messageMenu(ada).boundingBox();
  expect(Math.abs((menu?.x ?? 0) - at.x)).toBeLessThan(10);
  await chat.screenshot(ada, "context-menu");
  await ada.page.getByRole("menuitem", { name: "Copy link" }).click();
  const link = await ada.page.evaluate(() => navigator.clipboard.readText());
  expect(link).toBe(`${chat.environment.demo}/#/room/${room}/at/${seq}`);

  const tab = await chat.openTab(ada);
  // Leaves the page first. Otherwise the link would only change the hash and would not load the page.
  await tab.page.goto("about:blank");
  await tab.page.goto(link);
  await tab.page.locator(`article[data-flash][data-seq="${seq}"]`).waitFor();
  // The address of the message is used once, so that a reload does not jump again.
  await expect.poll(() => tab.page.url()).toBe(`${chat.environment.demo}/#/room/${room}`);
});

test("selected text and links keep the menu of the browser", async () => {
  const ada = await chat.signedIn("Ada");
  const name = chat.name("Native");
  const room = await chat.room(name, [ada.id, "bo"]);
  await chat.post("bo", room, "see https://example.org/native for more");
  await ada.open(name);
  await ada.row("see https").getByRole("link").click({ button: "right" });
  expect(await messageMenu(ada).count()).toBe(0);
  await ada
    .row("see https")
    .locator(".tidings-bubble-text")
    .click({ button: "right", position: { x: 5, y: 5 } });
  await messageMenu(ada).waitFor();
});

test("a room marked as unread shows it in all tabs and after a reload, until it is opened", async () => {
  const ada = await chat.signedIn("Ada");
  const [first, second] = [chat.name("First"), chat.name("Second")];
  const room = await chat.room(first, [ada.id, "bo"]);
  await chat.room(second, [ada.id, "bo"]);
  await chat.post("bo", room, "read this later");
  const other = await chat.openTab(ada);
  await ada.open(first);
  await ada.row("read this later").waitFor();
  await ada.roomLink(first).getByText("1 unread").waitFor({ state: "detached" });
  await ada.open(second);
  await ada.roomLink(first).click({ button: "right" });
  await roomMenu(ada, first).getByRole("menuitem", { name: "Mark as unread" }).click();
  for (const person of [ada, other]) await person.roomLink(first).getByText("marked as unread").waitFor();
  await chat.screenshot(ada, "marked-unread");
  await ada.page.reload();
  await ada.waitUntilReady();
  await ada.roomLink(first).getByText("marked as unread").waitFor();
  await ada.open(first);
  for (const person of [ada, other]) {
    await person.roomLink(first).getByText("marked as unread").waitFor({ state: "detached" });
  }
  // The menu also marks all messages of a room as read.
  await ada.open(second);
  await chat.post("bo", room, "another one");
  await ada.roomLink(first).getByText("unread").waitFor({ state: "attached" });
  await ada.roomLink(first).click({ button: "right" });
  await roomMenu(ada, first).getByRole("menuitem", { name: "Mark as read" }).click();
  for (const person of [ada, other]) {
    await person.roomLink(first).getByText("unread").waitFor({ state: "detached" });
  }
});

test("a long press opens the menus on a phone", async () => {
  const ada = await chat.signedIn("Ada", { device: PHONE });
  const name = chat.name("Press");
  const room = await chat.room(name, [ada.id, "bo"]);
  await chat.post("bo", room, "hold me");
  const session = await ada.page.context().newCDPSession(ada.page);
  const press = async (selector: string, ms: number) => {
    const box = await ada.page.locator(selector).first().boundingBox();
    const point = { x: (box?.x ?? 0) + 30, y: (box?.y ?? 0) + (box?.height ?? 0) / 2 };
    await session.send("Input.dispatchTouchEvent", { type: "touchStart", touchPoints: [point] });
    await ada.page.waitForTimeout(ms);
    await session.send("Input.dispatchTouchEvent", { type: "touchEnd", touchPoints: [] });
  };
  await press(`[data-room="${room}"]`, 900);
  await roomMenu(ada, name).waitFor();
  // The end of the long press did not open the room.
  expect(await ada.composer.count()).toBe(0);
  await ada.page.keyboard.press("Escape");
  await press(`[data-room="${room}"]`, 50);
  await ada.row("hold me").waitFor();
  await press("article .tidings-bubble", 900);
  await messageMenu(ada).waitFor();
  await chat.screenshot(ada, "phone-long-press");
  await ada.page.getByRole("menuitem", { name: "Reply" }).tap();
  await ada.page.getByText("Reply to Bo").waitFor();
});

test("Tab stops once in the list of rooms, and a link skips it", async () => {
  const ada = await chat.signedIn("Ada");
  const names = ["Uno", "Due", "Tre"].map((one) => chat.name(one));
  for (const name of names) await chat.post("bo", await chat.room(name, ["bo", ada.id]), `in ${name}`);
  const [uno = "", due = "", tre = ""] = names;
  // The room with the newest message comes first. Until all rooms are read, their order changes.
  await expect
    .poll(() => ada.page.locator(".tidings-room-item-name").allInnerTexts(), {
      message: "the order of the rooms",
    })
    .toEqual([tre, due, uno]);
  const { keyboard } = ada.page;
  await keyboard.press("Tab");
  expect(await focusedElement(ada)).toMatchObject({ name: "Skip the list of rooms", visible: true });
  await chat.screenshot(ada, "skip-link");
  await keyboard.press("Enter");
  expect(await focusedElement(ada)).toMatchObject({ role: "main" });

  await ada.page.getByLabel("Search rooms and messages").focus();
  await keyboard.press("Tab");
  expect((await focusedElement(ada)).name).toContain(tre);
  await keyboard.press("ArrowDown");
  expect((await focusedElement(ada)).name).toContain(due);
  await keyboard.press("Tab");
  expect(await ada.page.evaluate(() => document.activeElement?.matches("a.room-item"))).toBe(false);
  await keyboard.press("Shift+Tab");
  expect((await focusedElement(ada)).name).toContain(due);
  await keyboard.press("End");
  await keyboard.press("Enter");
  await ada.page.getByRole("heading", { level: 1, name: uno }).waitFor();
  await ada.row(`in ${uno}`).waitFor();
  await ada.page.getByText("Skip to the conversation").focus();
  await keyboard.press("Enter");
  expect((await focusedElement(ada)).name).toMatch(/^Messages of /);
});

test("the column of messages has a largest width, and text follows the font size of the browser", async () => {
  const ada = await chat.signedIn("Ada", { device: { viewport: { width: 2200, height: 900 } } });
  const name = chat.name("Wide");
  const room = await chat.room(name, [ada.id, "bo"]);
  await chat.post("bo", room, "a line of many words ".repeat(30));
  await chat.post(ada.id, room, "and one of mine");
  await ada.open(name);
  const ownBubble = await ada.row("and one of mine").locator(".tidings-bubble").boundingBox();
  const avatar = await ada.row("a line of many").locator(".tidings-row-avatar").boundingBox();
  const rightEdge = (ownBubble?.x ?? 0) + (ownBubble?.width ?? 0);
  expect(rightEdge - (avatar?.x ?? 0)).toBeLessThanOrEqual(960);
  const line = await ada.page.locator(".tidings-composer-line").boundingBox();
  expect(Math.abs((line?.x ?? 0) - (avatar?.x ?? 0))).toBeLessThan(24);
  await chat.screenshot(ada, "wide");

  const fontSize = () =>
    ada
      .row("a line of many")
      .locator(".tidings-bubble-text")
      .evaluate((one) => getComputedStyle(one).fontSize);
  expect(await fontSize()).toBe("15px");
  await ada.page.setViewportSize({ width: 1280, height: 900 });
  await ada.page.evaluate(() => {
    document.documentElement.style.fontSize = "200%";
  });
  expect(await fontSize()).toBe("30px");
  await ada.page.evaluate(() => {
    location.hash = "#/";
  });
  await ada.composer.waitFor({ state: "detached" });
  await ada.open(name);
  const clipped = await ada.composer.evaluate((input) => input.scrollHeight - input.clientHeight);
  expect(clipped).toBeLessThanOrEqual(1);
  const overflow = await ada.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  expect(overflow).toBeLessThanOrEqual(0);
  await chat.screenshot(ada, "large-text");
});

test("forced colours show bubbles, the open room and the focus without colours", async () => {
  const device = { forcedColors: "active", bypassCSP: true } as const;
  const ada = await chat.person("Ada", { device });
  await ada.signIn();
  const name = chat.name("Contrast");
  const room = await chat.room(name, [ada.id, "bo"]);
  await chat.post("bo", room, "can you see this?");
  await ada.open(name);
  await ada.say("very well");
  const style = (selector: string, property: string) =>
    ada.page
      .locator(selector)
      .first()
      .evaluate((one, key) => getComputedStyle(one).getPropertyValue(key), property);
  expect(await style(".tidings-bubble", "border-top-style")).toBe("solid");
  expect(await style(".tidings-row[data-mine] .tidings-bubble", "border-top-width")).toBe("2px");
  expect(await style('a.tidings-room-item[aria-current="page"]', "outline-style")).toBe("solid");
  expect(await style(".tidings-composer-line", "outline-style")).toBe("solid");
  expect(await accessibilityFaults(ada)).toEqual([]);
  await chat.screenshot(ada, "forced-colours");
});
