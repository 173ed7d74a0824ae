import { afterEach, expect, test } from "vitest";
import { usesFirefox } from "../setup/browser.js";
import { Chat } from "../support/chat.js";
import type { Person } from "../support/person.js";

const chat = new Chat();

afterEach(async () => {
  for (const gateway of [0, 1]) await chat.stack.link("gateway", gateway, "heal");
});

/** Ada and Bo have the same room open. The test breaks the gateway of Ada; Bo uses the other gateway. */
async function twoUsersInRoom(roomName: string): Promise<{ ada: Person; bo: Person; room: string }> {
  const ada = await chat.signedIn("Ada", { gateway: 0 });
  const bo = await chat.signedIn("Bo", { gateway: 1 });
  ada.allowBrokenConnections();
  const name = chat.name(roomName);
  const room = await chat.room(name, [ada.id, bo.id]);
  await ada.open(name);
  await bo.open(name);
  await ada.say("before");
  await ada.expectTick("before", "Read");
  return { ada, bo, room };
}

/** Writes messages without a connection. They wait in the list as `Sending`. */
async function writeOffline(ada: Person, texts: readonly string[]): Promise<void> {
  for (const text of texts) {
    await ada.say(text);
    await ada.expectTick(text, "Sending");
  }
}

/** Expects that all messages reach Bo and storage once and in order. */
async function expectAllDelivered(
  ada: Person,
  bo: Person,
  room: string,
  texts: readonly string[],
): Promise<void> {
  const all = ["before", ...texts];
  await bo.expectTexts(all);
  await ada.expectTexts(all);
  for (const text of texts) await ada.expectTick(text, "Read");
  await expect.poll(() => chat.history(ada.id, room)).toEqual(all);
}

const THREE_TEXTS = ["first of three", "second of three", "third of three"];

test("the banner counts down while connections are refused, and waiting messages are sent once and in order", async () => {
  const { ada, bo, room } = await twoUsersInRoom("Refused");
  await chat.stack.link("gateway", 0, "refuse");
  await chat.stack.link("gateway", 0, "cut");
  await ada.banner.getByText(/Connection lost\. Reconnecting in \d+ s|Reconnecting…/).waitFor();
  await writeOffline(ada, THREE_TEXTS);
  await ada.banner.getByText(/Reconnecting in \d+ s/).waitFor();
  await ada.page.getByRole("status", { name: "Connection" }).getByText("Connection lost").waitFor();
  await chat.screenshot(ada, "offline-refused");
  await bo.expectTexts(["before"]);
  // Waits for a long countdown, so that the button is pressed before the page reconnects by itself.
  await ada.banner.getByText(/Reconnecting in ([4-9]|\d\d) s/).waitFor({ timeout: 40_000 });
  await chat.stack.link("gateway", 0, "heal");
  await ada.banner.getByRole("button", { name: "Try now" }).click();
  await expectAllDelivered(ada, bo, room, THREE_TEXTS);
  await ada.banner.waitFor({ state: "detached" });
});

test("the page gives up a silent connection, and no message is lost or doubled", async () => {
  const { ada, bo, room } = await twoUsersInRoom("Silence");
  await chat.stack.link("gateway", 0, "black_hole");
  await writeOffline(ada, THREE_TEXTS);
  // The connection stays open but silent, and the page detects this.
  await ada.banner.waitFor({ timeout: 30_000 });
  await chat.stack.link("gateway", 0, "heal");
  await expectAllDelivered(ada, bo, room, THREE_TEXTS);
  await ada.banner.waitFor({ state: "detached" });
});

test("repeated cuts of the connection neither lose nor double a message", async () => {
  const { ada, bo, room } = await twoUsersInRoom("Cut");
  const texts = Array.from({ length: 8 }, (_, at) => `through cuts ${at + 1} of 8`);
  for (const text of texts) {
    await ada.say(text);
    await chat.stack.link("gateway", 0, "cut");
  }
  await expectAllDelivered(ada, bo, room, texts);
});

// Playwright does not close the WebSockets of a Firefox that it sets offline.
test.skipIf(usesFirefox)(
  "the page shows at once that the browser is offline, and sends again later",
  async () => {
    const { ada, bo, room } = await twoUsersInRoom("No network");
    await ada.page.context().setOffline(true);
    await ada.banner
      .getByText("You are offline. Your messages will be sent when you are back online.")
      .waitFor();
    await ada.account.filter({ hasText: "Not connected" }).waitFor();
    await writeOffline(ada, THREE_TEXTS);
    await chat.screenshot(ada, "offline-no-network");
    await ada.page.context().setOffline(false);
    await ada.banner.waitFor({ state: "detached" });
    await expectAllDelivered(ada, bo, room, THREE_TEXTS);
  },
);

test("a reloaded page sends its waiting messages once and in order", async () => {
  const { ada, bo, room } = await twoUsersInRoom("Reload");
  await chat.stack.link("gateway", 0, "refuse");
  await chat.stack.link("gateway", 0, "cut");
  const texts = Array.from({ length: 12 }, (_, at) => `kept over the reload ${at + 1} of 12`);
  await writeOffline(ada, texts);
  await ada.page.reload();
  await ada.banner.waitFor();
  expect(await bo.texts()).toEqual(["before"]);
  await chat.stack.link("gateway", 0, "heal");
  await expectAllDelivered(ada, bo, room, texts);
});
