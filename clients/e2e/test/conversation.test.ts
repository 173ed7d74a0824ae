import { expect, test } from "vitest";
import { Chat } from "../support/chat.js";

const chat = new Chat();

test("two people on two gateways read each message once, and in the same order", async () => {
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
  const all = [1, 2, 3, 4].flatMap((turn) => [`Ada says ${turn}`, `Bo says ${turn}`]);
  await ada.reads(all);
  await bo.reads(all);
  expect(await chat.history(ada.id, room)).toEqual(all);
  expect(ada.sockets.every((socket) => socket.startsWith(at(0)))).toBe(true);
  expect(bo.sockets.every((socket) => socket.startsWith(at(1)))).toBe(true);
});

test("the tick of a message goes from clock to sent to delivered to read", async () => {
  const ada = await chat.signedIn("Ada", { gateway: 0 });
  const bo = await chat.person("Bo", { gateway: 1 });
  const name = chat.name("Ticks");
  await chat.room(name, [ada.id, bo.id]);
  await ada.open(name);
  await chat.stack.link("gateway", 0, "black_hole");
  try {
    await ada.say("first");
    await ada.ticked("first", "Sending");
  } finally {
    await chat.stack.link("gateway", 0, "heal");
  }
  await ada.ticked("first", "Sent");
  // Bo was never there: it stays so, and only what comes while he is there reaches him.
  await bo.signIn();
  await bo.listed(name).waitFor();
  await ada.say("second");
  await ada.ticked("second", "Delivered");
  await bo.open(name);
  await ada.ticked("first", "Read");
  await ada.ticked("second", "Read");
});

test("who types is named, in the room and in the list", async () => {
  const ada = await chat.signedIn("Ada", { gateway: 0 });
  const bo = await chat.signedIn("Bo", { gateway: 1 });
  const name = chat.name("Typing");
  await chat.room(name, [ada.id, bo.id]);
  await ada.open(name);
  await bo.open(name);
  const line = `${bo.name} is typing`;
  const shown = async () => ({
    room: await ada.page.locator(".typing-line").textContent(),
    list: (await ada.listed(name).textContent())?.includes(line),
  });
  await bo.composer.pressSequentially("Well then, he", { delay: 20 });
  await expect.poll(shown).toEqual({ room: line, list: true });
  await bo.composer.press("Enter");
  await ada.row("Well then, he").waitFor();
  await expect.poll(shown).toEqual({ room: "", list: false });
});

test("presence shows who is online, away and gone", async () => {
  const ada = await chat.signedIn("Ada", { gateway: 0 });
  const bo = await chat.signedIn("Bo", { gateway: 1 });
  const room = await chat.room("", [bo.id, ada.id], { kind: "direct" });
  await chat.post(bo.id, room, "hello");
  await ada.open(bo.name);
  const head = ada.page.getByRole("main").locator("header");
  await head.getByText("Online").waitFor();
  await head.locator(".dot[data-status=online]").waitFor();
  await ada.listed(bo.name).locator(".dot[data-status=online]").waitFor();
  await bo.account.click();
  await bo.page.getByRole("menuitemradio", { name: "Away" }).click();
  await head.getByText("Away").waitFor();
  await ada.listed(bo.name).locator(".dot[data-status=away]").waitFor();
  await bo.page.close();
  await head.getByText("last seen just now").waitFor({ timeout: 30_000 });
  await head.locator(".dot").waitFor({ state: "detached" });
});

const at = (gateway: number): string => (chat.world.at.gateways[gateway] ?? "").replace("http", "ws");
