import { TidingsError, UnauthorizedError } from "@tidings/client";
import { settle, TestNetwork } from "@tidings/client/testing";
import { expect, test } from "vitest";
import { secureToken } from "../src/index.js";

/** A store with the shape of `expo-secure-store`. It keeps the calls, and can fail or wait. */
class Store {
  readonly values = new Map<string, string>();
  readonly calls: string[] = [];
  failing = false;
  /** Writes wait for this promise. */
  gate: Promise<void> = Promise.resolve();

  constructor(token?: string) {
    if (token !== undefined) this.values.set("tidings.token", token);
  }

  async getItemAsync(key: string) {
    this.#called("get", key);
    return this.values.get(key) ?? null;
  }

  async setItemAsync(key: string, value: string) {
    this.#called("set", key);
    await this.gate;
    this.values.set(key, value);
  }

  async deleteItemAsync(key: string) {
    this.#called("delete", key);
    this.values.delete(key);
  }

  #called(name: string, key: string) {
    this.calls.push(name);
    if (!/^[\w.-]+$/.test(key)) throw new Error(`Invalid key: ${key}`);
    if (this.failing) throw new Error("User interaction is not allowed.");
  }
}

const stored = (store: Store) => store.values.get("tidings.token");

/** A function that returns `new 1`, `new 2` and so on. */
function source() {
  let count = 0;
  return () => `new ${++count}`;
}

const expired = new TidingsError("unauthorized", "expired");

test("the stored token is used for the first request of a run only", async () => {
  const { token } = secureToken(new Store("old"), source());
  expect(await token({})).toBe("old");
  // The kit asks again without a refusal when the token is about to expire.
  expect(await token({})).toBe("new 1");
});

test("a new token is stored for the next run of the app", async () => {
  const store = new Store();
  await secureToken(store, source()).token({});
  await settle();
  expect(await secureToken(store, source()).token({})).toBe("new 1");
});

test("a refused token is deleted, and the app learns why it was refused", async () => {
  const store = new Store("old");
  const requests: unknown[] = [];
  const { token } = secureToken(store, (request) => {
    requests.push(request);
    throw new Error("no network");
  });
  await token({});
  await expect(token({ refused: expired })).rejects.toThrow("no network");
  await settle();
  expect(requests).toEqual([{ refused: expired }]);
  expect(stored(store)).toBeUndefined();
});

test("a token is deleted when the app says that the user is signed out", async () => {
  const store = new Store("old");
  const { token } = secureToken(store, () => {
    throw new UnauthorizedError();
  });
  await token({});
  await expect(token({})).rejects.toBeInstanceOf(UnauthorizedError);
  await settle();
  expect(stored(store)).toBeUndefined();
});

test("a token stays stored when a request for the next one fails for another reason", async () => {
  const store = new Store("old");
  const { token } = secureToken(store, () => Promise.reject(new Error("no network")));
  await token({});
  await expect(token({})).rejects.toThrow("no network");
  await settle();
  expect(stored(store)).toBe("old");
});

test("after forget nothing is stored, and the next token is a new one", async () => {
  const store = new Store("old");
  const { token, forget } = secureToken(store, source());
  await forget();
  expect(stored(store)).toBeUndefined();
  expect(await token({})).toBe("new 1");
});

test("a token that arrives after forget is not stored", async () => {
  const store = new Store();
  let answer = (_token: string) => {};
  const { token, forget } = secureToken(store, () => new Promise<string>((resolve) => (answer = resolve)));
  const pending = token({});
  await settle();
  await forget();
  answer("of the last user");
  await pending;
  await settle();
  expect(stored(store)).toBeUndefined();
});

test("forget deletes a token that is just being stored", async () => {
  const store = new Store();
  let open = () => {};
  store.gate = new Promise((resolve) => (open = resolve));
  const { token, forget } = secureToken(store, source());
  await token({});
  await settle();
  expect(store.calls).toEqual(["get", "set"]);
  const forgotten = forget();
  await settle();
  open();
  await forgotten;
  expect(store.calls).toEqual(["get", "set", "delete"]);
  expect(stored(store)).toBeUndefined();
});

test("a stored token that is read during forget is not used", async () => {
  const { token, forget } = secureToken(new Store("old"), source());
  const pending = token({});
  await forget();
  expect(await pending).toBe("new 1");
});

test("a store that fails does not keep the app from its tokens, but forget reports the failure", async () => {
  const store = new Store("old");
  store.failing = true;
  const { token, forget } = secureToken(store, source());
  expect(await token({})).toBe("new 1");
  expect(await token({ refused: expired })).toBe("new 2");
  await settle();
  await expect(forget()).rejects.toThrow("User interaction is not allowed.");
  expect(stored(store)).toBe("old");
});

test("tokens of two users have their own keys", async () => {
  const store = new Store();
  for (const user of ["alice", "bob"]) await secureToken(store, () => user, `token.${user}`).token({});
  await settle();
  expect([...store.values]).toEqual([
    ["token.alice", "alice"],
    ["token.bob", "bob"],
  ]);
});

test("a key that the store would reject is refused at once", () => {
  for (const key of ["", "user:alice", "a b"]) {
    const make = () => secureToken(new Store(), source(), key);
    expect(make).toThrow(expect.objectContaining({ code: "bad_request", field: "key" }));
  }
});

test("a client whose stored token is refused connects with a new one", async () => {
  const network = new TestNetwork();
  const store = new Store("alice.1");
  network.server.refuse = (sent) => sent === "alice.1";
  const { token } = secureToken(store, () => "alice.2");
  const client = network.client({ token });
  client.connect().catch(() => {});
  await network.clock.pass(5_000);
  expect(client.connection.get().state).toBe("connected");
  expect(stored(store)).toBe("alice.2");
  client.close();
});
