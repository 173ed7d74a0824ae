import { expect, test } from "vitest";
import type { TokenRequest } from "../src/index.js";
import { UnauthorizedError } from "../src/index.js";
import { World } from "./support/world.js";

const HOUR_MS = 3_600_000;

/** A connected client that counts how often the app is asked for a token. */
async function connectCountingTokens(token?: (count: number, request: TokenRequest) => string) {
  const world = new World();
  const tokenRequests: TokenRequest[] = [];
  const client = world.client({
    token: (request) => {
      tokenRequests.push(request);
      return token?.(tokenRequests.length, request) ?? `alice.${tokenRequests.length}`;
    },
  });
  client.connect().catch(() => {});
  await world.clock.pass(1_000);
  expect(client.connection.get().state).toBe("connected");
  return { world, client, tokenRequests };
}

test("reconnects use the valid token, so that a token service that is away stops nobody", async () => {
  let away = false;
  const { world, client, tokenRequests } = await connectCountingTokens((count) => {
    if (away) throw new Error("the token service is away");
    return `alice.${count}`;
  });
  away = true;
  for (const code of [1006, 1012, 1013, 4429]) {
    world.cut(code);
    await world.clock.pass(60_000);
    expect(client.connection.get().state).toBe("connected");
  }
  expect(tokenRequests.length).toBe(1);
  expect(world.errors).toEqual([]);
});

test("a node that drains does not make the kit ask for a token", async () => {
  const { world, client, tokenRequests } = await connectCountingTokens();
  for (const session of [...world.server.sessions])
    session.send({ type: "draining", reconnect_after_ms: 500 });
  await world.clock.pass(5_000);
  expect(world.attempts).toBe(2);
  expect(client.connection.get().state).toBe("connected");
  expect(tokenRequests.length).toBe(1);
});

test("a token that expired while the device slept is replaced before the attempt", async () => {
  const { world, client, tokenRequests } = await connectCountingTokens();
  world.down = true;
  world.cut();
  world.clock.jump(2 * HOUR_MS);
  world.down = false;
  await world.clock.pass(60_000);
  expect(client.connection.get().state).toBe("connected");
  expect(tokenRequests).toEqual([{}, {}]);
  const sent = world.server.seen.filter((frame) => frame.type === "auth").map((frame) => frame.token);
  expect(sent).toEqual(["alice.1", "alice.2"]);
});

test("the clock of the device may be wrong by hours", async () => {
  const world = new World();
  let tokenRequests = 0;
  const { clock } = world;
  const timers = {
    now: () => clock.now() + 5 * HOUR_MS,
    setTimeout: (run: () => void, ms: number) => clock.setTimeout(run, ms),
    clearTimeout: (handle: unknown) => clock.clearTimeout(handle),
  };
  const client = world.client({ timers, token: () => `alice.${++tokenRequests}` });
  client.connect().catch(() => {});
  await clock.pass(1_000);
  world.cut();
  await clock.pass(5_000);
  expect(client.connection.get().state).toBe("connected");
  expect(tokenRequests).toBe(1);
});

test("a refused token is replaced, and the app learns why it was refused", async () => {
  const { world, client, tokenRequests } = await connectCountingTokens();
  world.server.refuse = (token) => token === "alice.1";
  world.cut();
  await world.clock.pass(5_000);
  expect(client.connection.get().state).toBe("connected");
  expect(tokenRequests).toEqual([
    {},
    { refused: expect.objectContaining({ code: "unauthorized", reason: "expired" }) },
  ]);
  world.cut();
  await world.clock.pass(5_000);
  expect(tokenRequests.length).toBe(2);
});

test("a token that HTTP refuses is not used for the next connection", async () => {
  const { world, client, tokenRequests } = await connectCountingTokens();
  world.server.refuse = (token) => token === "alice.1";
  await Promise.all([client.http("GET", "/me/rooms"), world.clock.pass(1_000)]);
  world.cut();
  await world.clock.pass(5_000);
  expect(tokenRequests).toEqual([{}, { refused: expect.objectContaining({ status: 401 }) }]);
});

test("an UnauthorizedError of the token function stops the kit until the next connect", async () => {
  let signedIn = false;
  const world = new World();
  let tokenRequests = 0;
  const client = world.client({
    token: () => {
      tokenRequests++;
      if (!signedIn) throw new UnauthorizedError("the session has ended");
      return "alice.1";
    },
  });
  const rejection = client.connect().catch((error: unknown) => error);
  await world.clock.pass(300_000);
  expect(await rejection).toBeInstanceOf(UnauthorizedError);
  expect(tokenRequests).toBe(1);
  expect(client.connection.get()).toMatchObject({
    state: "disconnected",
    error: { code: "unauthorized", message: "the session has ended" },
  });
  expect(world.errors.map(({ message }) => message)).toEqual(["the session has ended"]);
  expect(world.clock.pending).toBe(0);
  signedIn = true;
  await Promise.all([client.connect(), world.clock.pass(1_000)]);
  expect(client.connection.get().state).toBe("connected");
});

test("an UnauthorizedError at the renewal ends the open connection", async () => {
  const { world, client } = await connectCountingTokens((count) => {
    if (count > 1) throw new UnauthorizedError();
    return "alice.1";
  });
  await world.clock.pass(HOUR_MS);
  expect(client.connection.get()).toMatchObject({
    state: "disconnected",
    error: { code: "unauthorized", message: "The user is signed out" },
  });
  expect(world.sockets.size).toBe(0);
  expect(world.attempts).toBe(1);
});

test("after disconnect the next connection asks for the token of the next user", async () => {
  let user = "alice";
  const { world, client } = await connectCountingTokens((count) => `${user}.${count}`);
  client.disconnect();
  user = "bob";
  await Promise.all([client.connect(), world.clock.pass(1_000)]);
  expect(client.me.get()?.id).toBe("bob");
});

test("a token that arrives after disconnect is not used for the next user", async () => {
  const world = new World();
  const answers: ((token: string) => void)[] = [];
  const client = world.client({ token: () => new Promise<string>((resolve) => answers.push(resolve)) });
  client.connect().catch(() => {});
  await world.clock.pass(100);
  client.disconnect();
  client.connect().catch(() => {});
  await world.clock.pass(100);
  answers[1]?.("bob.1");
  answers[0]?.("alice.1");
  await world.clock.pass(1_000);
  expect(client.me.get()?.id).toBe("bob");
  world.cut();
  await world.clock.pass(5_000);
  expect(client.me.get()?.id).toBe("bob");
  expect(answers.length).toBe(2);
});
