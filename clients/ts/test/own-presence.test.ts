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
  const client = world.client({ lifecycle: browserLifecycle(), ...options });
  client.connect().catch(() => {});
  await world.clock.pass(2_000);
  const statuses = () => {
    const sent = world.server.seen.filter(({ type }) => type === "presence:set").map(({ status }) => status);
    world.server.seen.length = 0;
    return sent;
  };
  return { world, client, statuses, pass: (ms: number) => world.clock.pass(ms) };
}

afterEach(() => vi.unstubAllGlobals());

test("a hidden page is away, and a visible one online again", async () => {
  const page = stubPage();
  const { client, statuses, pass } = await connected();
  expect(statuses()).toEqual([]);
  page.show("hidden");
  await pass(1_000);
  expect(statuses()).toEqual(["away"]);
  page.show("visible");
  await pass(1_000);
  expect(statuses()).toEqual(["online"]);
  client.close();
});

test("a page that opens hidden is away at once", async () => {
  const page = stubPage("hidden");
  const { client, statuses, pass } = await connected();
  expect(statuses()).toEqual(["away"]);
  page.show("visible");
  await pass(1_000);
  expect(statuses()).toEqual(["online"]);
  client.close();
});

test("a page without input for five minutes is away until it is used", async () => {
  const page = stubPage();
  const { client, statuses, pass } = await connected();
  await pass(4 * MINUTE_MS);
  page.input("keydown");
  await pass(5 * MINUTE_MS - 1_000);
  expect(statuses()).toEqual([]);
  await pass(2_000);
  expect(statuses()).toEqual(["away"]);
  // Content that moves below the pointer is no input.
  page.input("pointermove", { movementX: 0, movementY: 0 });
  await pass(1_000);
  expect(statuses()).toEqual([]);
  page.input("pointermove", { movementX: 0, movementY: -2 });
  await pass(1_000);
  expect(statuses()).toEqual(["online"]);
  await pass(5 * MINUTE_MS);
  expect(statuses()).toEqual(["away"]);
  client.close();
});

test("the chosen status away stays, whatever happens to the page", async () => {
  const page = stubPage();
  const { client, statuses, pass } = await connected();
  presence(client).set("away");
  await pass(1_000);
  expect(statuses()).toEqual(["away"]);
  page.show("hidden");
  page.show("visible");
  await pass(6 * MINUTE_MS);
  page.input("keydown");
  await pass(1_000);
  expect(statuses()).toEqual([]);
  presence(client).set("online");
  await pass(1_000);
  expect(statuses()).toEqual(["online"]);
  client.close();
});

test("a page that was away is away again after a reconnect", async () => {
  const page = stubPage();
  const { world, client, statuses, pass } = await connected();
  await pass(6 * MINUTE_MS);
  expect(statuses()).toEqual(["away"]);
  world.cut();
  await pass(10_000);
  expect(client.connection.get().state).toBe("connected");
  expect(statuses()).toEqual(["away"]);
  page.input("wheel");
  await pass(1_000);
  expect(statuses()).toEqual(["online"]);
  client.close();
});

test("another time than five minutes counts, and 0 turns it off", async () => {
  const page = stubPage();
  const short = await connected({ awayAfterMs: 10_000 });
  await short.pass(10_000);
  expect(short.statuses()).toEqual(["away"]);
  short.client.close();
  const off = await connected({ awayAfterMs: 0 });
  page.show("hidden");
  await off.pass(60 * MINUTE_MS);
  expect(off.statuses()).toEqual([]);
  off.client.close();
});

test("without reports of input a visible app stays online", async () => {
  const life = lifecycle();
  const { client, statuses, pass } = await connected({ lifecycle: life });
  await pass(60 * MINUTE_MS);
  expect(statuses()).toEqual([]);
  life.emit("hidden");
  await pass(1_000);
  life.emit("visible");
  await pass(1_000);
  expect(statuses()).toEqual(["away", "online"]);
  client.close();
});

test("a clock that is set back does not delay away", async () => {
  stubPage();
  const { world, client, statuses, pass } = await connected();
  world.clock.jump(-60 * MINUTE_MS);
  await pass(65 * MINUTE_MS);
  expect(statuses()).toEqual(["away"]);
  client.close();
});

test.each([{ retry_after_ms: 30_000 }, {}])("a status refused with %o is sent again later", async (more) => {
  const page = stubPage();
  const { world, client, statuses, pass } = await connected();
  world.server.hook = ({ type }) =>
    type === "presence:set" ? { type: "error", code: "rate_limited", ...more } : undefined;
  page.show("hidden");
  await pass(1_000);
  expect(statuses()).toEqual(["away"]);
  // Before the pause is over, a change of the page sends nothing.
  page.show("visible");
  page.show("hidden");
  await pass(("retry_after_ms" in more ? 30_000 : 2_000) - 1_000);
  expect(statuses()).toEqual([]);
  world.server.hook = undefined;
  await pass(5 * MINUTE_MS);
  expect(statuses()).toEqual(["away"]);
  client.close();
});

test("no status is repeated after a permanent refusal or close", async () => {
  const page = stubPage();
  for (const code of ["bad_request", "unavailable"]) {
    const { world, client, statuses, pass } = await connected();
    world.server.hook = ({ type }) => (type === "presence:set" ? { type: "error", code } : undefined);
    page.show("hidden");
    await pass(1_000);
    expect(statuses()).toEqual(["away"]);
    if (code === "unavailable") {
      client.close();
      expect(world.clock.pending).toBe(0);
    }
    await pass(MINUTE_MS);
    expect(statuses()).toEqual([]);
    client.close();
    page.show("visible");
  }
});

test("polls continue no status of an earlier page", async () => {
  const page = stubPage();
  const { client, statuses, pass } = await connected({ transport: "poll" });
  expect(statuses()).toEqual(["online"]);
  page.show("hidden");
  await pass(1_000);
  expect(statuses()).toEqual(["away"]);
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
