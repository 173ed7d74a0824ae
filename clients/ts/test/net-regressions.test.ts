// Has one regression test per fixed fault of connections, polls, requests and storage, so the file is long.
import { expect, test } from "vitest";
import type { TidingsClient, TidingsError } from "../src/index.js";
import { signal } from "../src/live.js";
import { memoryStorage } from "../src/storage.js";
import type { Session } from "../src/testing.js";
import { World } from "./support/world.js";

/** The newest connection, as the server sees it. */
const sessionOf = (world: World) => [...world.server.sessions].at(-1) as Session;

/** The result of a promise: the error code when it was rejected. */
function outcome(promise: Promise<unknown>): { of: string } {
  const result = { of: "pending" };
  promise.then(
    () => {
      result.of = "resolved";
    },
    (error: TidingsError) => {
      result.of = error.code;
    },
  );
  return result;
}

async function connectClient(world: World, client = world.client()): Promise<TidingsClient> {
  client.connect().catch(() => {});
  await world.clock.pass(1_000);
  expect(client.connection.get().state).toBe("connected");
  return client;
}

test("all listed rooms are joined on the connection after a drain", async () => {
  const world = new World(["r", "s"]);
  const client = await connectClient(world);
  const before = sessionOf(world);
  before.send({ type: "draining", reconnect_after_ms: 1_000 });
  await world.clock.pass(5_000);
  expect(sessionOf(world)).not.toBe(before);
  expect([...sessionOf(world).joined]).toEqual(["r", "s"]);
  world.server.appendMessage("after the move", "bob", "s");
  await world.clock.pass(1_000);
  const listedRoom = client.rooms.get().items.find(({ id }) => id === "s");
  expect(listedRoom?.lastMessage?.content).toBe("after the move");
});

test("an open room survives a move while its gap is filled", async () => {
  const world = new World();
  const client = world.client();
  const room = client.room("r");
  room.open();
  world.server.appendMessage("0");
  await connectClient(world, client);
  world.server.http = (_method, path) => (path.endsWith("/events") ? { status: 503 } : undefined);
  const before = sessionOf(world);
  before.send({ type: "draining", reconnect_after_ms: 1_000 });
  before.joined.clear();
  for (let i = 1; i < 10; i++) world.server.appendMessage(`${i}`);
  before.send({ type: "room:gap", room: "r", after: 1, head: world.server.head("r") });
  await world.clock.pass(3_000);
  world.server.http = undefined;
  world.server.appendMessage("live");
  await world.clock.pass(60_000);
  expect(room.state.get().phase).toBe("live");
  expect(room.messages.get().items.map(({ content }) => content)).toEqual(world.server.contents());
});

test("a room opened while connecting stops loading when the kit gives up", async () => {
  const world = new World();
  world.server.hook = ({ type }, { close }) => {
    if (type !== "auth") return undefined;
    close(4403);
    return "lose";
  };
  const { client, room } = await world.opened();
  expect(client.connection.get().state).toBe("disconnected");
  expect(room.state.get().phase).toBe("offline");
});

test("a room opened before connect() is loading after the call", async () => {
  const world = new World();
  const client = world.client();
  const room = client.room("r");
  room.open();
  expect(room.state.get().phase).toBe("offline");
  client.connect().catch(() => {});
  expect(room.state.get().phase).toBe("loading");
});

/** Closes the connection for frames that are too long, as a server does. */
function closeOnLongFrames(world: World): void {
  world.server.hook = (frame, { close }) => {
    if (new TextEncoder().encode(JSON.stringify(frame)).length <= 65_536) return undefined;
    close(1009);
    return "lose";
  };
}

test("a message above the frame limit fails, and the connection continues", async () => {
  const world = new World();
  closeOnLongFrames(world);
  const client = await connectClient(world);
  const room = client.room("r");
  const { clientId } = room.send("x".repeat(70_000));
  room.send("next");
  await world.clock.pass(5_000);
  expect(client.connection.get().state).toBe("connected");
  expect(client.outbox.get()).toMatchObject([{ clientId, status: "failed", error: { code: "too_large" } }]);
  expect(world.server.contents()).toEqual(["next"]);
});

test("the frame limit counts bytes, not characters", async () => {
  const world = new World();
  closeOnLongFrames(world);
  const client = await connectClient(world);
  const accentedSignal = outcome(signal(client.room("r"), "é".repeat(40_000)));
  const asciiSignal = outcome(signal(client.room("r"), "e".repeat(60_000)));
  await world.clock.pass(1_000);
  expect([accentedSignal.of, asciiSignal.of]).toEqual(["too_large", "resolved"]);
  expect(client.connection.get().state).toBe("connected");
});

test("a command that cannot be JSON is refused and leaves no pending request", async () => {
  const world = new World();
  const client = await connectClient(world);
  const before = world.clock.pending;
  const result = outcome(client.request({ type: "signal", room: "r", data: 1n }));
  await world.clock.pass(0);
  expect([result.of, world.clock.pending]).toEqual(["bad_request", before]);
});

/** Refuses requests with more than `maxBytes` bytes, as a proxy does. */
function refuseLongRequests(world: World, maxBytes: number): void {
  const request = world.server.request.bind(world.server);
  world.server.request = async (method, url, token, body) =>
    JSON.stringify(body ?? {}).length > maxBytes ? { status: 413 } : request(method, url, token, body);
}

test("many long commands are split into polls of limited size", async () => {
  const world = new World();
  refuseLongRequests(world, 256 * 1_024);
  const client = await connectClient(world, world.client({ transport: "poll" }));
  const signals = Array.from({ length: 20 }, () => outcome(signal(client.room("r"), "x".repeat(15_000))));
  await world.clock.pass(3_000);
  expect(new Set(signals.map((signal) => signal.of))).toEqual(new Set(["resolved"]));
  expect(client.connection.get().state).toBe("connected");
});

test("commands too long for a proxy go in shorter polls, and a single long command is refused", async () => {
  const world = new World();
  refuseLongRequests(world, 40_000);
  const client = await connectClient(world, world.client({ transport: "poll" }));
  const signals = Array.from({ length: 5 }, () => outcome(signal(client.room("r"), "x".repeat(15_000))));
  const long = outcome(signal(client.room("r"), "x".repeat(50_000)));
  await world.clock.pass(3_000);
  expect(new Set(signals.map((signal) => signal.of))).toEqual(new Set(["resolved"]));
  expect(long.of).toBe("too_large");
  expect(client.connection.get().state).toBe("connected");
});

test("the kit calls a token function again when it never returns", async () => {
  const world = new World();
  let asked = 0;
  const token = () => (++asked === 1 ? new Promise<string>(() => {}) : "alice.1");
  const client = world.client({ token });
  client.connect().catch(() => {});
  const request = outcome(client.http("GET", "/me/rooms"));
  await world.clock.pass(60_000);
  expect(client.connection.get().state).toBe("connected");
  expect(request.of).toBe("resolved");
});

test("a token that takes longer than an attempt is still used", async () => {
  const world = new World();
  let asked = 0;
  const client = world.client({
    token: () => {
      asked++;
      return new Promise((resolve) => void world.clock.setTimeout(() => resolve("alice.1"), 10_000));
    },
  });
  client.connect().catch(() => {});
  await world.clock.pass(30_000);
  expect(client.connection.get().state).toBe("connected");
  expect(asked).toBe(1);
});

test("the kit requests an origin again when it never arrives", async () => {
  const world = new World();
  let asked = 0;
  const url = () => (++asked <= 2 ? new Promise<string>(() => {}) : "http://test");
  const client = world.client({ url });
  client.connect().catch(() => {});
  const request = outcome(client.http("GET", "/me/rooms"));
  await world.clock.pass(60_000);
  expect(client.connection.get().state).toBe("connected");
  expect(request.of).toBe("resolved");
});

for (const state of ["connecting", "connected", "reconnecting"] as const) {
  test(`disconnect() in a listener of ${state} ends the connection`, async () => {
    const world = new World();
    const client = world.client();
    const end = () => {
      if (client.connection.get().state === state) client.disconnect();
    };
    if (state !== "reconnecting") client.connection.subscribe(end);
    client.connect().catch(() => {});
    await world.clock.pass(1_000);
    if (state === "reconnecting") client.connection.subscribe(end);
    world.cut();
    await world.clock.pass(60_000);
    expect(client.connection.get().state).toBe("disconnected");
    client.close();
    expect([world.sockets.size, world.clock.pending]).toEqual([0, 0]);
  });
}

test("disconnect() and connect() in a listener of connecting make one connection", async () => {
  const world = new World();
  const client = world.client();
  let again = true;
  client.connection.subscribe(() => {
    if (client.connection.get().state !== "connecting" || !again) return;
    again = false;
    client.disconnect();
    client.connect().catch(() => {});
  });
  client.connect().catch(() => {});
  await world.clock.pass(20_000);
  expect(client.connection.get().state).toBe("connected");
  expect([world.attempts, world.sockets.size]).toEqual([1, 1]);
});

test("connect() in a listener of the end starts a new attempt", async () => {
  const world = new World();
  world.down = true;
  const client = world.client();
  const first = outcome(client.connect());
  await world.clock.pass(1_000);
  let second = { of: "not made" };
  const forget = client.connection.subscribe(() => {
    forget();
    second = outcome(client.connect());
  });
  world.down = false;
  client.disconnect();
  await world.clock.pass(10_000);
  expect([first.of, second.of]).toEqual(["closed", "resolved"]);
  expect(client.connection.get().state).toBe("connected");
});

test("the kit tries a WebSocket again after consecutive failed polls", async () => {
  const world = new World();
  world.noWebSocket = true;
  world.server.http = (_method, path) => (path === "/poll" ? { status: 503 } : undefined);
  const client = await world.connected({}, 60_000);
  world.noWebSocket = false;
  await world.clock.pass(120_000);
  expect(client.connection.get()).toMatchObject({ state: "connected", transport: "websocket" });
});

test("send throws for metadata that cannot be JSON", async () => {
  const world = new World();
  const client = await connectClient(world);
  const circular: { self?: object } = {};
  circular.self = circular;
  const room = client.room("r");
  expect(() => room.send("x", { metadata: circular })).toThrow(
    expect.objectContaining({ code: "bad_request" }),
  );
  expect(() => room.send("x", { metadata: { big: 1n } })).toThrow(
    expect.objectContaining({ code: "bad_request" }),
  );
  expect(client.outbox.get()).toEqual([]);
});

test("a sent message does not change when the app changes its options object", async () => {
  const world = new World();
  const client = world.client();
  const metadata = { color: "red" };
  client.room("r").send("x", { metadata });
  metadata.color = "blue";
  await connectClient(world, client);
  expect(world.server.seen.find(({ type }) => type === "message:send")?.metadata).toEqual({ color: "red" });
});

test("commands of a rate-limited poll are sent again in order", async () => {
  const world = new World();
  const request = world.server.request.bind(world.server);
  let refusals = 2;
  world.server.request = async (method, url, token, body) =>
    (body?.commands as unknown[] | undefined)?.length && refusals-- > 0
      ? { status: 429, body: { code: "rate_limited", retry_after_ms: 500 } }
      : request(method, url, token, body);
  const client = await connectClient(world, world.client({ transport: "poll" }));
  const signals = ["a", "b", "c"].map((data) => outcome(signal(client.room("r"), data)));
  await world.clock.pass(3_000);
  expect(signals.map((signal) => signal.of)).toEqual(["resolved", "resolved", "resolved"]);
  const sentData = world.server.seen.filter(({ type }) => type === "signal").map(({ data }) => data);
  expect(sentData).toEqual(["a", "b", "c"]);
});

test("the number of concurrent polls with commands is limited", async () => {
  const world = new World(Array.from({ length: 40 }, (_, i) => `r${i}`));
  const request = world.server.request.bind(world.server);
  let running = 0;
  let maxRunning = 0;
  world.server.request = async (method, url, token, body) => {
    if (!(body?.commands as unknown[] | undefined)?.length) return request(method, url, token, body);
    maxRunning = Math.max(maxRunning, ++running);
    await new Promise<void>((resolve) => void world.clock.setTimeout(resolve, 100));
    running--;
    return request(method, url, token, body);
  };
  const client = await connectClient(world, world.client({ transport: "poll" }));
  const signals = [];
  for (let i = 0; i < 40; i++) {
    signals.push(outcome(signal(client.room(`r${i}`), i)));
    await Promise.resolve();
    await Promise.resolve();
  }
  await world.clock.pass(3_000);
  expect(new Set(signals.map((signal) => signal.of))).toEqual(new Set(["resolved"]));
  expect(maxRunning).toBeLessThanOrEqual(4);
});

test("an error answer to a command does not explain a later close", async () => {
  const world = new World();
  const client = await connectClient(world);
  client.request({ type: "room:join", room: "zzz" }).catch(() => {});
  await world.clock.pass(5_000);
  world.cut();
  expect(client.connection.get().error?.code).toBe("network");
});

test("tokens refused right after each welcome are retried with a pause", async () => {
  const world = new World();
  world.server.hook = ({ type }, { close }) => {
    if (type === "auth") world.clock.setTimeout(() => close(4401), 20);
    return undefined;
  };
  await world.connected({}, 10_000);
  expect(world.attempts).toBeGreaterThan(1);
  expect(world.attempts).toBeLessThan(20);
});

test("a close for abuse while draining has the usual delay", async () => {
  const world = new World();
  const client = await connectClient(world);
  sessionOf(world).send({ type: "draining", reconnect_after_ms: 2_000 });
  await world.clock.pass(100);
  world.cut(4429);
  expect((client.connection.get().retryAt ?? 0) - world.clock.now()).toBeGreaterThanOrEqual(30_000);
});

test("a failed move is retried while the old connection continues", async () => {
  const world = new World();
  const client = await connectClient(world);
  const before = sessionOf(world);
  world.noWebSocket = true;
  before.send({ type: "draining", reconnect_after_ms: 1_000 });
  await world.clock.pass(3_000);
  expect(client.connection.get()).toMatchObject({ state: "connected", draining: true });
  world.noWebSocket = false;
  await world.clock.pass(60_000);
  expect(client.connection.get()).toMatchObject({ state: "connected", draining: false });
  expect(sessionOf(world)).not.toBe(before);
});

test("a late answer about an earlier failure does not affect the next connection", async () => {
  const world = new World();
  world.noWebSocket = true;
  world.server.websocket = false;
  const client = world.client();
  client.connect().catch(() => {});
  // The handshake has failed, and the request for its reason is pending.
  await world.clock.pass(12);
  expect(world.server.requests).toContain("GET /transport");
  client.disconnect();
  await world.clock.pass(1_000);
  world.noWebSocket = false;
  await connectClient(world, client);
  expect(client.connection.get().transport).toBe("websocket");
});

/** An entry that a closed tab left. */
const leftEntry = (user = "alice") =>
  JSON.stringify({
    clientId: "0000",
    room: "r",
    content: "left",
    options: {},
    at: 1,
    user,
    tries: 1,
    v: 1,
    owner: "dead",
  });

test("constant writes of other tabs do not keep a tab from adopting entries", async () => {
  const world = new World();
  const memory = memoryStorage();
  let notify: (key: string | null) => void = () => {};
  const storage = {
    ...memory,
    subscribe: (listener: typeof notify) => {
      notify = listener;
      return () => {};
    },
  };
  await connectClient(world, world.client({ storage }));
  await memory.setItem("tidings/default/out/0000", leftEntry());
  for (let i = 0; i < 20; i++) {
    notify("something/else");
    await world.clock.pass(4_000);
  }
  expect(world.server.contents()).toEqual(["left"]);
});

test("the kit searches a storage whose subscribe throws", async () => {
  const world = new World();
  const storage = {
    ...memoryStorage(),
    subscribe: () => {
      throw new Error("not here");
    },
  };
  await storage.setItem("tidings/default/out/0000", leftEntry());
  await connectClient(world, world.client({ storage }));
  expect(world.server.contents()).toEqual(["left"]);
  expect(world.errors.map(({ code }) => code)).toEqual(["internal"]);
});

test("a tab does not send an entry that another tab deletes during the look", async () => {
  const world = new World();
  const memory = memoryStorage();
  await memory.setItem("tidings/default/user", "alice");
  await memory.setItem("tidings/default/out/0000", leftEntry());
  let reads = 0;
  const storage = {
    ...memory,
    getItem: async (key: string) => {
      const value = await memory.getItem(key);
      // The other tab deletes the entry and closes right after this tab has read it.
      if (key.includes("/out/") && ++reads === 1) await memory.removeItem(key);
      return value;
    },
  };
  await connectClient(world, world.client({ storage }));
  await world.clock.pass(5_000);
  expect(reads).toBeGreaterThan(0);
  expect(world.server.contents()).toEqual([]);
});

test("a message after close() waits in the storage, and no timer runs", async () => {
  const world = new World();
  const client = await connectClient(world);
  client.close();
  const entry = client.room("r").send("for another time");
  await world.clock.pass(60_000);
  expect(client.outbox.get()).toMatchObject([{ clientId: entry.clientId, status: "sending" }]);
  expect(world.clock.pending).toBe(0);
  await connectClient(world, client);
  expect(world.server.contents()).toEqual(["for another time"]);
});

test("a client adopts the entries of its predecessor within seconds", async () => {
  const world = new World();
  const storage = memoryStorage();
  const first = await connectClient(world, world.client({ storage }));
  world.down = true;
  first.room("r").send("written before");
  await world.clock.pass(100);
  const second = await world.connected({ storage }, 100);
  first.close();
  await world.clock.pass(5_000);
  expect(second.outbox.get()).toMatchObject([{ content: "written before" }]);
});

test("an aborted request rejects at once, also in a pause and during a token request", async () => {
  const world = new World();
  let stuck = false;
  const client = await connectClient(
    world,
    world.client({
      token: () => (stuck ? new Promise<string>(() => {}) : "alice.1"),
    }),
  );
  world.server.http = () => ({ status: 503, body: { code: "unavailable", retry_after_ms: 8_000 } });
  const paused = new AbortController();
  const waiting = outcome(client.http("GET", "/rooms", undefined, { signal: paused.signal }));
  await world.clock.pass(1_000);
  paused.abort();
  await world.clock.pass(0);
  expect(waiting.of).toBe("closed");
  world.server.http = () => ({ status: 401, body: { code: "unauthorized" } });
  stuck = true;
  const asking = new AbortController();
  const asked = outcome(client.http("GET", "/rooms", undefined, { signal: asking.signal }));
  await world.clock.pass(1_000);
  asking.abort();
  await world.clock.pass(0);
  expect(asked.of).toBe("closed");
});

test("an aborted request is not sent again after its pause", async () => {
  const world = new World();
  const client = await connectClient(world);
  let sent = 0;
  world.server.http = (_method, path) => {
    if (path !== "/rooms/r/messages") return undefined;
    sent += 1;
    return { status: 503, body: { code: "unavailable", retry_after_ms: 1_000 } };
  };
  const controller = new AbortController();
  const options = { signal: controller.signal };
  const waiting = outcome(client.http("GET", "/rooms/r/messages", undefined, options));
  await world.clock.pass(500);
  controller.abort();
  await world.clock.pass(20_000);
  expect([sent, waiting.of]).toEqual([1, "closed"]);
});
