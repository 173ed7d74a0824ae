import { afterEach, expect, test, vi } from "vitest";
import { browserLifecycle } from "../src/lifecycle.js";
import { presence } from "../src/live.js";
import { lifecycle } from "./support/lifecycle.js";
import { type Options, World } from "./support/world.js";

const MINUTE_MS = 60_000;

/** A page whose visibility and input a test controls. */
function stubPage(visibilityState = "visible") {
  const page = new EventTarget();
  const document = { visibilityState };
  vi.stubGlobal("document", document);
  vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
  vi.stubGlobal("removeEventListener", page.removeEventListener.bind(page));
  return {
    show(state: "visible" | "hidden") {
      document.visibilityState = state;
      page.dispatchEvent(new Event("visibilitychange"));
    },
    input: (type: string, fields: object = {}) => page.dispatchEvent(Object.assign(new Event(type), fields)),
  };
}

/** A connected client. `statuses` are the statuses that it has sent since the last call. */
async function connected(options: Options = {}) {
  const world = new World();
  const client = await world.connected({ lifecycle: browserLifecycle(), ...options }, 2_000);
  const statuses = () => {
    const sent = world.server.seen.filter(({ type }) => type === "presence:set").map(({ status }) => status);
    world.server.seen.length = 0;
    return sent;
  };
  const pass = (ms: number) => world.clock.pass(ms);
  return { world, client, statuses, pass, statusesAfter: (ms: number) => pass(ms).then(statuses) };
}

afterEach(() => vi.unstubAllGlobals());

test("a hidden page is away, and a visible one online again", async () => {
  const page = stubPage();
  const { client, statuses, statusesAfter } = await connected();
  expect(statuses()).toEqual([]);
  page.show("hidden");
  expect(await statusesAfter(1_000)).toEqual(["away"]);
  page.show("visible");
  expect(await statusesAfter(1_000)).toEqual(["online"]);
  client.close();
});

test("a page that opens hidden is away at once", async () => {
  const page = stubPage("hidden");
  const { client, statuses, statusesAfter } = await connected();
  expect(statuses()).toEqual(["away"]);
  page.show("visible");
  expect(await statusesAfter(1_000)).toEqual(["online"]);
  client.close();
});

test("a page without input for five minutes is away until it is used", async () => {
  const page = stubPage();
  const { client, pass, statusesAfter } = await connected();
  await pass(4 * MINUTE_MS);
  page.input("keydown");
  expect(await statusesAfter(5 * MINUTE_MS - 1_000)).toEqual([]);
  expect(await statusesAfter(2_000)).toEqual(["away"]);
  // Content that moves below the pointer is no input.
  page.input("pointermove", { movementX: 0, movementY: 0 });
  expect(await statusesAfter(1_000)).toEqual([]);
  page.input("pointermove", { movementX: 0, movementY: -2 });
  expect(await statusesAfter(1_000)).toEqual(["online"]);
  expect(await statusesAfter(5 * MINUTE_MS)).toEqual(["away"]);
  client.close();
});

test("the chosen status away stays, whatever happens to the page", async () => {
  const page = stubPage();
  const { client, pass, statusesAfter } = await connected();
  presence(client).set("away");
  expect(await statusesAfter(1_000)).toEqual(["away"]);
  page.show("hidden");
  page.show("visible");
  await pass(6 * MINUTE_MS);
  page.input("keydown");
  expect(await statusesAfter(1_000)).toEqual([]);
  presence(client).set("online");
  expect(await statusesAfter(1_000)).toEqual(["online"]);
  client.close();
});

test("a page that was away is away again after a reconnect", async () => {
  const page = stubPage();
  const { world, client, statuses, pass, statusesAfter } = await connected();
  expect(await statusesAfter(6 * MINUTE_MS)).toEqual(["away"]);
  world.cut();
  await pass(10_000);
  expect(client.connection.get().state).toBe("connected");
  expect(statuses()).toEqual(["away"]);
  page.input("wheel");
  expect(await statusesAfter(1_000)).toEqual(["online"]);
  client.close();
});

test("another time than five minutes counts, and 0 turns it off", async () => {
  const page = stubPage();
  const short = await connected({ awayAfterMs: 10_000 });
  expect(await short.statusesAfter(10_000)).toEqual(["away"]);
  short.client.close();
  const off = await connected({ awayAfterMs: 0 });
  page.show("hidden");
  expect(await off.statusesAfter(60 * MINUTE_MS)).toEqual([]);
  off.client.close();
});

test("without reports of input a visible app stays online", async () => {
  const life = lifecycle();
  const { client, pass, statusesAfter } = await connected({ lifecycle: life });
  expect(await statusesAfter(60 * MINUTE_MS)).toEqual([]);
  life.emit("hidden");
  await pass(1_000);
  life.emit("visible");
  expect(await statusesAfter(1_000)).toEqual(["away", "online"]);
  client.close();
});

test("a clock that is set back does not delay away", async () => {
  stubPage();
  const { world, client, statusesAfter } = await connected();
  world.clock.jump(-60 * MINUTE_MS);
  expect(await statusesAfter(65 * MINUTE_MS)).toEqual(["away"]);
  client.close();
});

test.each([{ retry_after_ms: 30_000 }, {}])("a status refused with %o is sent again later", async (more) => {
  const page = stubPage();
  const { world, client, statusesAfter } = await connected();
  world.server.hook = ({ type }) =>
    type === "presence:set" ? { type: "error", code: "rate_limited", ...more } : undefined;
  page.show("hidden");
  expect(await statusesAfter(1_000)).toEqual(["away"]);
  // Before the pause is over, a change of the page sends nothing.
  page.show("visible");
  page.show("hidden");
  expect(await statusesAfter(("retry_after_ms" in more ? 30_000 : 2_000) - 1_000)).toEqual([]);
  world.server.hook = undefined;
  expect(await statusesAfter(5 * MINUTE_MS)).toEqual(["away"]);
  client.close();
});

test("no status is repeated after a permanent refusal or close", async () => {
  const page = stubPage();
  for (const code of ["bad_request", "unavailable"]) {
    const { world, client, statusesAfter } = await connected();
    world.server.hook = ({ type }) => (type === "presence:set" ? { type: "error", code } : undefined);
    page.show("hidden");
    expect(await statusesAfter(1_000)).toEqual(["away"]);
    if (code === "unavailable") {
      client.close();
      expect(world.clock.pending).toBe(0);
    }
    expect(await statusesAfter(MINUTE_MS)).toEqual([]);
    client.close();
    page.show("visible");
  }
});

test("polls continue no status of an earlier page", async () => {
  const page = stubPage();
  const { client, statuses, statusesAfter } = await connected({ transport: "poll" });
  expect(statuses()).toEqual(["online"]);
  page.show("hidden");
  expect(await statusesAfter(1_000)).toEqual(["away"]);
  client.close();
});

test("a closed client has no timers and ignores the page", async () => {
  const page = stubPage();
  const { world, client, statuses, pass } = await connected();
  client.close();
  page.show("hidden");
  await pass(1_000);
  expect([statuses(), world.clock.pending]).toEqual([[], 0]);
});

test("a client that a listener closes while it connects keeps no timer", async () => {
  const page = stubPage();
  const { world, client, statuses, pass } = await connected();
  const room = client.room("r");
  room.open();
  await pass(1_000);
  world.cut();
  expect(room.state.get().phase).toBe("offline");
  room.state.subscribe(() => {
    if (room.state.get().phase === "catching-up") client.close();
  });
  await pass(10_000);
  expect(client.connection.get().state).toBe("disconnected");
  page.show("hidden");
  await pass(1_000);
  expect([statuses(), world.clock.pending]).toEqual([[], 0]);
});
