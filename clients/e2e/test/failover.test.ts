import { afterEach, expect, test } from "vitest";
import { Chat } from "../support/chat.js";

const chat = new Chat();

/** The gateway of a WebSocket. */
const gatewayOf = (socket: string | undefined): number =>
  chat.environment.addresses.gateways.findIndex((origin) => socket?.startsWith(origin.replace("http", "ws")));

let stoppedGateway: number | undefined;
afterEach(async () => {
  if (stoppedGateway !== undefined) await chat.stack.start("gateway", stoppedGateway);
  stoppedGateway = undefined;
});

test("a user continues on the other gateway after a crash, and no message is lost", async () => {
  const ada = await chat.signedIn("Ada");
  const gateway = gatewayOf(ada.sockets.at(-1));
  const other = 1 - gateway;
  const bo = await chat.signedIn("Bo", { gateway: other });
  ada.allowBrokenConnections();
  const name = chat.name("Failover");
  const room = await chat.room(name, [ada.id, bo.id]);
  await ada.open(name);
  await bo.open(name);
  const texts: string[] = [];
  const say = async (sender: typeof ada, text: string) => {
    texts.push(text);
    await sender.say(text);
  };
  await say(ada, "before 1");
  await bo.row("before 1").waitFor();
  await say(bo, "before 2");
  await ada.row("before 2").waitFor();

  stoppedGateway = gateway;
  await chat.stack.kill("gateway", gateway);
  await say(ada, "while it is down");
  await bo.row("while it is down").waitFor({ timeout: 30_000 });
  await say(bo, "from the other side");
  await ada.row("from the other side").waitFor({ timeout: 30_000 });
  expect(gatewayOf(ada.sockets.at(-1))).toBe(other);
  await ada.banner.waitFor({ state: "detached" });
  await say(ada, "after all");
  await bo.row("after all").waitFor();

  for (const person of [ada, bo]) {
    await person.expectTexts(texts);
    expect(await person.page.getByText("Not sent").count()).toBe(0);
  }
  for (const text of ["before 1", "while it is down", "after all"]) await ada.expectTick(text, "Read");
  await expect.poll(() => chat.history(ada.id, room)).toEqual(texts);
});

test("a draining gateway hands its users over, and no message is lost", async () => {
  const ada = await chat.signedIn("Ada");
  const gateway = gatewayOf(ada.sockets.at(-1));
  const bo = await chat.signedIn("Bo", { gateway: 1 - gateway });
  ada.allowBrokenConnections();
  const name = chat.name("Deploy");
  const room = await chat.room(name, [ada.id, bo.id]);
  await ada.open(name);
  await bo.open(name);
  stoppedGateway = gateway;
  const drain = chat.stack.drain("gateway", gateway);
  const texts = Array.from({ length: 6 }, (_, at) => `during the stop ${at + 1}`);
  for (const text of texts) await ada.say(text);
  await drain;
  await bo.expectTexts(texts);
  await ada.expectTexts(texts);
  for (const text of texts) await ada.expectTick(text, "Read");
  await expect.poll(() => chat.history(bo.id, room)).toEqual(texts);
});
