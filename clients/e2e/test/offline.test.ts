import { afterEach, expect, test } from "vitest";
import { Chat } from "../support/chat.js";
import type { Person } from "../support/person.js";

const chat = new Chat();

afterEach(async () => {
  for (const gateway of [0, 1]) await chat.stack.link("gateway", gateway, "heal");
});

/** Ada on a gateway that is about to be away, and Bo on the other one, in a room that both have open. */
async function two(like: string): Promise<{ ada: Person; bo: Person; room: string }> {
  const ada = await chat.signedIn("Ada", { gateway: 0 });
  const bo = await chat.signedIn("Bo", { gateway: 1 });
  ada.allowBrokenConnections();
  const name = chat.name(like);
  const room = await chat.room(name, [ada.id, bo.id]);
  await ada.open(name);
  await bo.open(name);
  await ada.say("before");
  await ada.ticked("before", "Read");
  return { ada, bo, room };
}

/** What is written meanwhile waits in the list, and reaches the other one and storage in order, once. */
async function writesMeanwhile(ada: Person, texts: readonly string[]): Promise<void> {
  for (const text of texts) {
    await ada.say(text);
    await ada.ticked(text, "Sending");
  }
}

async function arrive(ada: Person, bo: Person, room: string, texts: readonly string[]): Promise<void> {
  const all = ["before", ...texts];
  await bo.reads(all);
  await ada.reads(all);
  for (const text of texts) await ada.ticked(text, "Read");
  await expect.poll(() => chat.history(ada.id, room)).toEqual(all);
}

const THREE = ["first of three", "second of three", "third of three"];

test("while connections are refused the banner counts down, and messages wait and go out in order once", async () => {
  const { ada, bo, room } = await two("Refused");
  await chat.stack.link("gateway", 0, "refuse");
  await chat.stack.link("gateway", 0, "cut");
  await ada.banner.getByText(/Connection lost\. Reconnecting in \d+ s|Reconnecting…/).waitFor();
  await writesMeanwhile(ada, THREE);
  await ada.banner.getByText(/Reconnecting in \d+ s/).waitFor();
  await ada.page.getByRole("status", { name: "Connection" }).getByText("Connection lost").waitFor();
  await chat.picture(ada, "offline-refused");
  await bo.reads(["before"]);
  // Where there is time left to be faster than the page itself.
  await ada.banner.getByText(/Reconnecting in ([4-9]|\d\d) s/).waitFor({ timeout: 40_000 });
  await chat.stack.link("gateway", 0, "heal");
  await ada.banner.getByRole("button", { name: "Try now" }).click();
  await arrive(ada, bo, room, THREE);
  await ada.banner.waitFor({ state: "detached" });
});

test("a connection on which nothing comes any more is given up, and nothing of it is lost or doubled", async () => {
  const { ada, bo, room } = await two("Silence");
  await chat.stack.link("gateway", 0, "black_hole");
  await writesMeanwhile(ada, THREE);
  // Nobody told: it is found out by the silence.
  await ada.banner.waitFor({ timeout: 30_000 });
  await chat.stack.link("gateway", 0, "heal");
  await arrive(ada, bo, room, THREE);
  await ada.banner.waitFor({ state: "detached" });
});

test("a connection that is cut again and again costs no message and doubles none", async () => {
  const { ada, bo, room } = await two("Cut");
  const texts = Array.from({ length: 8 }, (_, at) => `through cuts ${at + 1} of 8`);
  for (const text of texts) {
    await ada.say(text);
    await chat.stack.link("gateway", 0, "cut");
  }
  await arrive(ada, bo, room, texts);
});

test("a browser without a network says so at once, and sends when it is back", async () => {
  const { ada, bo, room } = await two("No network");
  await ada.page.context().setOffline(true);
  await ada.banner.getByText("You are offline. Messages are sent once you are back.").waitFor();
  await ada.account.filter({ hasText: "Not connected" }).waitFor();
  await writesMeanwhile(ada, THREE);
  await chat.picture(ada, "offline-no-network");
  await ada.page.context().setOffline(false);
  await ada.banner.waitFor({ state: "detached" });
  await arrive(ada, bo, room, THREE);
});

test("a page that is loaded again with messages under way sends them in order once", async () => {
  const { ada, bo, room } = await two("Reload");
  await chat.stack.link("gateway", 0, "refuse");
  await chat.stack.link("gateway", 0, "cut");
  const texts = Array.from({ length: 12 }, (_, at) => `kept over the reload ${at + 1} of 12`);
  await writesMeanwhile(ada, texts);
  await ada.page.reload();
  await ada.banner.waitFor();
  expect(await bo.texts()).toEqual(["before"]);
  await chat.stack.link("gateway", 0, "heal");
  await arrive(ada, bo, room, texts);
});
