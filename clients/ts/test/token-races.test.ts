import { expect, test } from "vitest";
import type { TokenRequest } from "../src/index.js";
import { World } from "./support/world.js";

const HOUR_MS = 3_600_000;

/** A client whose requests for tokens the test answers itself. The first one is answered with `alice.1`. */
async function connectWithManualTokens() {
  const world = new World();
  const tokenRequests: { request: TokenRequest; answer: (token: string) => void }[] = [];
  const client = world.client({
    token: (request) => new Promise<string>((answer) => tokenRequests.push({ request, answer })),
  });
  client.connect().catch(() => {});
  await world.clock.pass(10);
  tokenRequests[0]?.answer("alice.1");
  await world.clock.pass(1_000);
  expect(client.connection.get().state).toBe("connected");
  return { world, client, tokenRequests };
}

const authFrames = (world: World) =>
  world.server.seen.filter(({ type }) => type === "auth").map(({ token }) => token);

test("a token that was requested before a refusal is not used instead of one that knows it", async () => {
  const { world, client, tokenRequests } = await connectWithManualTokens();
  await world.clock.pass(HOUR_MS - 30_000);
  expect(tokenRequests.length).toBe(2);
  // The server refuses the token while a renewal waits for the app. The app does not know of the refusal yet.
  world.server.refuse = (token) => token === "alice.1";
  world.cut(4401);
  await world.clock.pass(100);
  expect(tokenRequests[2]?.request.refused?.code).toBe("unauthorized");
  tokenRequests[1]?.answer("alice.1");
  tokenRequests[2]?.answer("alice.2");
  await world.clock.pass(5_000);
  expect(client.connection.get().state).toBe("connected");
  expect(tokenRequests.length).toBe(3);
});

test("the renewal of one user never reaches the connection of the next user", async () => {
  const { world, client, tokenRequests } = await connectWithManualTokens();
  await world.clock.pass(HOUR_MS - 30_000);
  client.disconnect();
  client.connect().catch(() => {});
  await world.clock.pass(10);
  tokenRequests[2]?.answer("bob.1");
  await world.clock.pass(1_000);
  expect(client.me.get()?.id).toBe("bob");
  tokenRequests[1]?.answer("alice.2");
  await world.clock.pass(5_000);
  expect(authFrames(world)).toEqual(["alice.1", "bob.1"]);
});

test("a request of one user is never repeated with the token of the next user", async () => {
  const { world, client, tokenRequests } = await connectWithManualTokens();
  const methods: string[] = [];
  world.server.http = (method, path) => {
    if (!path.includes("/members/")) return undefined;
    methods.push(method);
    return { status: 503, body: { code: "unavailable" } };
  };
  const leaving = client.http("DELETE", "/rooms/r/members/alice").catch((error: unknown) => error);
  await world.clock.pass(100);
  expect(methods.length).toBe(1);
  client.disconnect();
  client.connect().catch(() => {});
  await world.clock.pass(10);
  tokenRequests[1]?.answer("bob.1");
  await world.clock.pass(60_000);
  expect(client.me.get()?.id).toBe("bob");
  expect(await leaving).toMatchObject({ code: "disconnected" });
  expect(methods.length).toBe(1);
});

test("a refused connection refuses its own token, not a newer one", async () => {
  const { world, client, tokenRequests } = await connectWithManualTokens();
  world.server.refuse = (token) => token === "alice.1";
  const answer = client.http("GET", "/me/rooms");
  await world.clock.pass(100);
  tokenRequests[1]?.answer("alice.2");
  await Promise.all([answer, world.clock.pass(1_000)]);
  // The connection was opened with the first token.
  world.cut(4401);
  await world.clock.pass(5_000);
  expect(client.connection.get().state).toBe("connected");
  expect(authFrames(world)).toEqual(["alice.1", "alice.2"]);
  expect(tokenRequests.length).toBe(2);
});

test("a connection that was renewed refuses the renewed token", async () => {
  const { world, client, tokenRequests } = await connectWithManualTokens();
  await world.clock.pass(HOUR_MS - 30_000);
  tokenRequests[1]?.answer("alice.2");
  await world.clock.pass(2_000);
  world.server.refuse = (token) => token !== "alice.3";
  world.cut(4401);
  await world.clock.pass(100);
  expect(tokenRequests[2]?.request.refused).toBeDefined();
  tokenRequests[2]?.answer("alice.3");
  await world.clock.pass(2_000);
  expect(client.connection.get().state).toBe("connected");
});

test("the next user's first token request names no refusal of the earlier user", async () => {
  const { world, client, tokenRequests } = await connectWithManualTokens();
  world.server.refuse = (token) => token === "alice.1";
  client.http("GET", "/me/rooms").catch(() => {});
  await world.clock.pass(100);
  expect(tokenRequests[1]?.request.refused).toBeDefined();
  client.disconnect();
  client.connect().catch(() => {});
  await world.clock.pass(10);
  expect(tokenRequests[2]?.request).toEqual({});
});
