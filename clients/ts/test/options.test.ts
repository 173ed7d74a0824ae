import { expect, test, vi } from "vitest";
import { type DebugEntry, TidingsClient, TidingsError } from "../src/index.js";
import { World } from "./support/world.js";

const VALID_OPTIONS = { url: "https://chat.example.com", token: () => "t" };

test.each([
  ["url", { url: undefined }, /url must be the origin/],
  ["url", { url: "" }, /not ""/],
  ["url", { url: "chat.example.com" }, /https:\/\/chat\.example\.com, not "chat\.example\.com"/],
  ["url", { url: "ws://chat.example.com" }, /url/],
  ["url", { url: "https://" }, /url/],
  ["url", { url: "https://chat.example.com/v1/ws" }, /url/],
  ["url", { url: "https://chat.example.com?room=1" }, /url/],
  ["httpUrl", { httpUrl: "localhost:8081" }, /httpUrl/],
  ["token", { token: undefined }, /token must be a function/],
  ["token", { token: "secret" }, /token must be a function/],
  ["storage", { storage: { getItem: () => null } }, /@tidings\/client\/storage/],
  ["transport", { transport: "polling" }, /transport/],
])("the constructor refuses a wrong %s (%o)", (field, wrong, message) => {
  let thrown: unknown;
  try {
    new TidingsClient({ ...VALID_OPTIONS, ...wrong } as never);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(TidingsError);
  expect(thrown).toMatchObject({ code: "bad_request", field, message: expect.stringMatching(message) });
  // A token must never get into a log.
  expect(String(thrown)).not.toContain("secret");
});

test.each([
  "http://127.0.0.1:8080",
  "https://chat.example.com/",
  "https://example.com/chat",
  "HTTP://[::1]:80",
])("the constructor takes the url %s", (url) => {
  expect(() => new TidingsClient({ ...VALID_OPTIONS, url })).not.toThrow();
});

test("a url function that gives a wrong origin is reported by name", async () => {
  const world = new World();
  const client = await world.connected({ url: () => "chat.example.com" });
  expect(client.connection.get().error?.message).toMatch(/option url must be the origin/);
});

test.each([
  ["throws", () => Promise.reject(new Error("no such user")), "network", /token failed: no such user/],
  ["gives nothing", () => undefined as never, "bad_request", /must return a token, not undefined/],
  ["gives an empty text", () => "", "bad_request", /not ""/],
])("a token function that %s is reported to onError", async (_, token, code, message) => {
  const world = new World();
  const client = await world.connected({ token }, 100);
  expect(world.errors).toEqual([expect.objectContaining({ code, message: expect.stringMatching(message) })]);
  expect(client.connection.get().error?.message).toMatch(message);
});

test("every error of the kit has a message", async () => {
  const world = new World();
  const client = world.client();
  await expect(client.request({ type: "ping" })).rejects.toThrow("The client is not connected");
  const connected = client.connect();
  client.disconnect();
  await expect(connected).rejects.toThrow("The client was closed");
  world.down = true;
  const failureMessage = client.http("POST", "/rooms").catch((error: Error) => error.message);
  await world.clock.pass(1_000);
  expect(await failureMessage).toBe("The server could not be reached: fetch failed");
});

test("a url without a Tidings server is reported with its origin", async () => {
  const world = new World();
  world.noWebSocket = true;
  world.server.http = () => ({ status: 404 });
  const client = await world.connected({}, 500);
  expect(world.errors.map(({ message }) => message)).toContain(
    "No Tidings server answers at http://test; check the option url",
  );
  client.close();
});

test("debug shows the frames of both directions and the steps, without the token", async () => {
  const world = new World();
  const entries: DebugEntry[] = [];
  const client = world.client({ debug: (entry) => entries.push(entry) });
  await Promise.all([client.connect(), world.clock.pass(1_000)]);
  const summaries = entries.map((entry) =>
    entry.type === "step" ? `${entry.from} to ${entry.to}` : `${entry.type} ${entry.frame?.type}`,
  );
  expect(summaries.slice(0, 4)).toEqual([
    "idle to connecting",
    "sent auth",
    "received connected",
    "connecting to connected",
  ]);
  expect(summaries).toContain("sent room:join");
  expect(JSON.stringify(entries)).not.toContain("alice.1");
  world.cut(1013);
  expect(entries.at(-1)).toMatchObject({ type: "step", to: "waiting", error: { code: "unavailable" } });
});

test("debug also shows the frames that polls carry", async () => {
  const world = new World();
  const entries: DebugEntry[] = [];
  const client = world.client({ transport: "poll", debug: (entry) => entries.push(entry) });
  await Promise.all([client.connect(), world.clock.pass(1_000)]);
  const types = entries.flatMap((entry) =>
    entry.type === "step" ? [] : `${entry.type} ${entry.frame?.type}`,
  );
  expect(types).toContain("received connected");
  expect(types).toContain("sent room:join");
});

test("debug: true writes to the console", async () => {
  const spy = vi.spyOn(console, "debug").mockImplementation(() => {});
  try {
    const world = new World();
    const client = world.client({ debug: true });
    await Promise.all([client.connect(), world.clock.pass(100)]);
    expect(spy).toHaveBeenCalledWith("[tidings]", { type: "sent", frame: { type: "auth", token: "…" } });
  } finally {
    spy.mockRestore();
  }
});
