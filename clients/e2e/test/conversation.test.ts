import { expect, test } from "vitest";
import { Chat } from "../support/chat.js";

const chat = new Chat();

test("two users on two gateways see each message once and in the same order", async () => {
  const ada = await chat.signedIn("Ada", { gateway: 0 });
  const bo = await chat.signedIn("Bo", { gateway: 1 });
  const name = chat.name("Kitchen");
  const room = await chat.room(name, [ada.id, bo.id]);
  await ada.open(name);
  await bo.open(name);
  for (let turn = 1; turn <= 4; turn += 1) {
    await ada.say(`Ada says ${turn}`);
    await bo.row(`Ada says ${turn}`).waitFor();
    await bo.say(`Bo says ${turn}`);
    await ada.row(`Bo says ${turn}`).waitFor();
  }
  const allTexts = [1, 2, 3, 4].flatMap((turn) => [`Ada says ${turn}`, `Bo says ${turn}`]);
  await ada.expectTexts(allTexts);
  await bo.expectTexts(allTexts);
  // A message may be shown before it is stored.
  await expect.poll(() => chat.history(ada.id, room), { timeout: 10_000 }).toEqual(allTexts);
  expect(ada.sockets.every((socket) => socket.startsWith(socketOrigin(0)))).toBe(true);
  expect(bo.sockets.every((socket) => socket.startsWith(socketOrigin(1)))).toBe(true);
});

test("the tick of a message changes from sending to sent, delivered and read", async () => {
  const ada = await chat.signedIn("Ada", { gateway: 0 });
  const bo = await chat.person("Bo", { gateway: 1 });
  const name = chat.name("Ticks");
  await chat.room(name, [ada.id, bo.id]);
  await ada.open(name);
  await chat.stack.link("gateway", 0, "black_hole");
  try {
    await ada.say("first");
    await ada.expectTick("first", "Sending");
  } finally {
    await chat.stack.link("gateway", 0, "heal");
  }
  await ada.expectTick("first", "Sent");
  // Bo has never been online, so "first" stays sent. Only "second" is delivered to him.
  await bo.signIn();
  await bo.roomLink(name).waitFor();
  await ada.say("second");
  await ada.expectTick("second", "Delivered");
  await bo.open(name);
  await ada.expectTick("first", "Read");
  await ada.expectTick("second", "Read");
});

test("the room and the list of rooms name a typing user", async () => {
  const ada = await chat.signedIn("Ada", { gateway: 0 });
  const bo = await chat.signedIn("Bo", { gateway: 1 });
  const name = chat.name("Typing");
  await chat.room(name, [ada.id, bo.id]);
  await ada.open(name);
  await bo.open(name);
  const line = `${bo.name} is typing`;
  const shownTyping = async () => ({
    room: await ada.page.locator(".tidings-typing-line").textContent(),
    list: (await ada.roomLink(name).textContent())?.includes(line),
  });
  await bo.composer.pressSequentially("Well then, he", { delay: 20 });
  await expect.poll(shownTyping).toEqual({ room: line, list: true });
  await bo.composer.press("Enter");
  await ada.row("Well then, he").waitFor();
  await expect.poll(shownTyping).toEqual({ room: "", list: false });
});

test("presence shows that a user is online, away or offline", async () => {
  const ada = await chat.signedIn("Ada", { gateway: 0 });
  const bo = await chat.signedIn("Bo", { gateway: 1 });
  const room = await chat.room("", [bo.id, ada.id], { kind: "direct" });
  await chat.post(bo.id, room, "hello");
  await ada.open(bo.name);
  const head = ada.page.getByRole("main").locator("header");
  await head.getByText("Online").waitFor();
  await head.locator(".tidings-dot[data-status=online]").waitFor();
  await ada.roomLink(bo.name).locator(".tidings-dot[data-status=online]").waitFor();
  await bo.account.click();
  await bo.page.getByRole("menuitemradio", { name: "Away" }).click();
  await head.getByText("Away").waitFor();
  await ada.roomLink(bo.name).locator(".tidings-dot[data-status=away]").waitFor();
  await bo.page.close();
  await head.getByText("last seen just now").waitFor({ timeout: 30_000 });
  await head.locator(".tidings-dot").waitFor({ state: "detached" });
});

const socketOrigin = (gateway: number): string =>
  (chat.environment.addresses.gateways[gateway] ?? "").replace("http", "ws");
