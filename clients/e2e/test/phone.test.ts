import { expect, test } from "vitest";
import { Chat } from "../support/chat.js";
import type { Person } from "../support/person.js";

const chat = new Chat();
const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };
/** The smallest size of a button for a finger, in px. */
const MIN_TOUCH_SIZE = 40;

/** Expects that the page is not wider than the screen, and that these buttons are large enough. */
async function expectFits(person: Person, controls: readonly string[]): Promise<void> {
  const { width, contentWidth } = await person.page.evaluate(() => ({
    width: document.documentElement.clientWidth,
    contentWidth: Math.max(document.documentElement.scrollWidth, document.body.scrollWidth),
  }));
  expect(width).toBe(PHONE.viewport.width);
  expect(contentWidth).toBeLessThanOrEqual(width);
  const problems: string[] = [];
  for (const control of controls) {
    const box = await person.page.getByRole("button", { name: control, exact: true }).first().boundingBox();
    if (box === null || box.width < MIN_TOUCH_SIZE || box.height < MIN_TOUCH_SIZE)
      problems.push(`${control} ${JSON.stringify(box)}`);
    else if (box.x < 0 || box.x + box.width > width) problems.push(`${control} is out of sight`);
  }
  expect(problems).toEqual([]);
}

test("on a phone a user opens a room and its members and goes back, and every page fits", async () => {
  const ada = await chat.person("Ada", { device: PHONE });
  await expectFits(ada, ["Continue"]);
  await chat.screenshot(ada, "phone-login");
  await ada.signIn();
  await chat.screenshot(ada, "phone-welcome");
  await expectFits(ada, ["New conversation", "Join the Lobby"]);
  const name = chat.name("Camping");
  const room = await chat.room(name, [ada.id, "bo", "cy"]);
  const long = "Shall we take the long way round the lake, with the tent and all the pots? ".repeat(3);
  await chat.post("bo", room, long);
  await chat.post("cy", room, "averyveryverylongwordthatdoesnotbreakbyitself".repeat(3));
  await chat.post("bo", room, "https://example.org/a/rather/long/address/that/leads/nowhere?with=parameters");

  await ada.roomLink(name).waitFor();
  expect((await ada.roomLink(name).boundingBox())?.height ?? 0).toBeGreaterThanOrEqual(MIN_TOUCH_SIZE);
  await chat.screenshot(ada, "phone-list");
  await ada.roomLink(name).tap();
  await ada.row("Shall we take").waitFor();
  await ada.page.getByRole("navigation", { name: "Rooms" }).waitFor({ state: "hidden" });
  await ada.composer.fill("I am in");
  await expectFits(ada, [
    "Back to rooms",
    "Search in this room",
    "Members",
    "Insert emoji",
    "Send privately",
    "Send",
  ]);
  await ada.page.getByRole("button", { name: "Send", exact: true }).tap();
  await ada.expectTick("I am in", "Sent");
  await chat.screenshot(ada, "phone-room");
  // A tap on a message shows its tools.
  await ada.row("Shall we take").locator(".tidings-bubble-text").tap();
  const more = ada.row("Shall we take").getByRole("button", { name: "More actions" });
  await more.tap();
  await ada.page.getByRole("menu", { name: "Message" }).waitFor();
  await chat.screenshot(ada, "phone-menu");
  const item = await ada.page.getByRole("menuitem", { name: "Reply" }).boundingBox();
  expect(item?.height ?? 0).toBeGreaterThanOrEqual(MIN_TOUCH_SIZE);
  await ada.page.getByRole("menuitem", { name: "Reply" }).tap();
  await ada.page.getByText("Reply to Bo").waitFor();
  await ada.page.getByRole("button", { name: "Cancel reply" }).tap();

  await ada.page.getByRole("button", { name: "Members" }).tap();
  const panel = ada.page.getByRole("complementary", { name: "Members" });
  await panel.getByText("3 members").waitFor();
  await expectFits(ada, ["Back to the room", "Add", "Leave room"]);
  await chat.screenshot(ada, "phone-members");
  await ada.page.getByRole("button", { name: "Back to the room" }).tap();
  await ada.composer.waitFor();
  await ada.page.getByRole("button", { name: "Search in this room" }).tap();
  await ada.page.getByLabel("Search messages").fill("tent");
  await ada.page.getByRole("button", { name: /Shall we take/ }).waitFor();
  await expectFits(ada, ["Back to the room"]);
  await chat.screenshot(ada, "phone-search");
  await ada.page.goBack();
  await ada.composer.waitFor();
  await ada.page.getByRole("button", { name: "Back to rooms" }).tap();
  await ada.roomLink(name).waitFor();
  await ada.composer.waitFor({ state: "detached" });

  await ada.page.getByRole("button", { name: "New conversation" }).tap();
  await ada.page.getByRole("menuitem", { name: "New room" }).tap();
  await ada.page.getByRole("dialog", { name: "New room" }).waitFor();
  await expectFits(ada, ["Close", "Cancel", "Create room"]);
  await chat.screenshot(ada, "phone-dialog");
});

test("on a phone small buttons are also large enough for a finger", async () => {
  const ada = await chat.signedIn("Ada", { device: PHONE });
  ada.allowBrokenConnections();
  const name = chat.name("Thumbs");
  const room = await chat.room(name, [ada.id, "bo"]);
  const seq = await chat.post("bo", room, "who is in?");
  const path = `/rooms/${room}/messages/${seq}/reactions/${encodeURIComponent("\u{1F44D}")}`;
  await chat.http("bo", "PUT", path, { client_id: `thumb-${room}` });
  await ada.roomLink(name).tap();
  const chip = ada.row("who is in?").getByRole("button", { name: /1, Bo/ });
  await chip.tap();
  await ada.row("who is in?").getByRole("button", { name: /2, / }).waitFor();

  await ada.page.context().setOffline(true);
  await ada.composer.fill("too late");
  await ada.page.getByRole("button", { name: "Send", exact: true }).tap();
  await ada.row("too late").waitFor();
  await chat.http(ada.id, "PATCH", `/rooms/${room}`, { archived: true });
  await ada.page.context().setOffline(false);
  await ada.row("too late").getByRole("group", { name: "Message not sent" }).waitFor({ timeout: 30_000 });
  await expectFits(ada, ["Try again", "Discard"]);
  await chat.screenshot(ada, "phone-failed");
  await chat.http(ada.id, "PATCH", `/rooms/${room}`, { archived: false });
  await ada.composer.waitFor();
  const reaction = await ada.row("who is in?").getByRole("button", { name: /2, / }).boundingBox();
  expect(Math.min(reaction?.width ?? 0, reaction?.height ?? 0)).toBeGreaterThanOrEqual(MIN_TOUCH_SIZE);
  await ada.page.getByRole("button", { name: "Back to rooms" }).tap();
  await ada.roomLink(name).getByText("Not sent: too late").waitFor();
  await ada.roomLink(name).tap();

  await ada.page.getByRole("button", { name: "Members" }).tap();
  const panel = ada.page.getByRole("complementary", { name: "Members" });
  await panel.getByText("Room settings").tap();
  const role = await panel.getByLabel("Role of Bo").boundingBox();
  expect(role?.height ?? 0).toBeGreaterThanOrEqual(MIN_TOUCH_SIZE);
  await expectFits(ada, ["Rename", "Archive room", "Remove Bo"]);
  await chat.screenshot(ada, "phone-settings");
});

test("on a phone Enter begins a line, and the room opens without the keyboard", async () => {
  const ada = await chat.signedIn("Ada", { device: PHONE });
  const name = chat.name("Lines");
  await chat.room(name, [ada.id, "bo"]);
  await ada.roomLink(name).tap();
  await ada.composer.waitFor();
  await ada.page.getByText("This is the beginning of").waitFor();
  expect(await ada.composer.evaluate((input) => document.activeElement === input)).toBe(false);
  await ada.composer.tap();
  await ada.page.keyboard.type("milk");
  await ada.page.keyboard.press("Enter");
  await ada.page.keyboard.type("bread");
  expect(await ada.composer.inputValue()).toBe("milk\nbread");
  await ada.page.getByRole("button", { name: "Send", exact: true }).tap();
  await ada.row("milk").getByText("bread").waitFor();
});

test("on a phone a kept reply does not open the keyboard with the room", async () => {
  const ada = await chat.signedIn("Ada", { device: PHONE });
  const name = chat.name("Replies");
  const room = await chat.room(name, [ada.id, "bo"]);
  await chat.post("bo", room, "who is in?");
  const focused = () => ada.composer.evaluate((input) => document.activeElement === input);
  await ada.roomLink(name).tap();
  await ada.row("who is in?").locator(".tidings-bubble-text").tap();
  await ada.row("who is in?").getByRole("button", { name: "More actions" }).tap();
  await ada.page.getByRole("menuitem", { name: "Reply" }).tap();
  await ada.page.getByText("Reply to Bo").waitFor();
  await expect.poll(focused).toBe(true);
  await ada.page.getByRole("button", { name: "Back to rooms" }).tap();
  await ada.roomLink(name).tap();
  await ada.page.getByText("Reply to Bo").waitFor();
  expect(await focused()).toBe(false);
});
