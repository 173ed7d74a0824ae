// Web Push with stand-ins for the browser and for the API of devices. clients/e2e/ has the tests with real ones.
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { TidingsError } from "../src/errors.js";
import type { TidingsClientLike } from "../src/index.js";
import { disablePush, enablePush } from "../src/push.js";

const KEY = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
const OTHER_KEY = `${KEY.slice(0, -2)}AA`;

/** The API of one user, as `tidings-push` answers. */
class Server {
  key: string | undefined = KEY;
  devices: { id: string; endpoint: string | null }[] = [{ id: "phone", endpoint: null }];
  readonly requests: string[] = [];
  /** Fails a request. */
  fail: ((request: string) => TidingsError | undefined) | undefined;
  /** Lets requests of this method wait. */
  gate: { readonly method: string; readonly opened: Promise<void> } | undefined;

  readonly client = { http: this.http.bind(this) } as unknown as TidingsClientLike;

  async http(method: string, path: string, body?: { endpoint: string }, options?: { signal?: AbortSignal }) {
    const request = `${method} ${path}`;
    this.requests.push(request);
    if (this.gate?.method === method) await this.gate.opened;
    if (options?.signal?.aborted) throw new TidingsError("closed");
    const failure = this.fail?.(request);
    if (failure) throw failure;
    if (path === "/push/key" && this.key) return { key: this.key };
    if (request === "GET /me/devices") return { devices: this.devices };
    if (method === "POST")
      return void this.devices.push({ id: `d${this.requests.length}`, ...body } as never);
    const left = this.devices.filter(({ id }) => path !== `/me/devices/${id}`);
    if (left.length === this.devices.length) throw new TidingsError("not_found");
    this.devices = left;
    return undefined;
  }

  get endpoints() {
    return this.devices.map(({ endpoint }) => endpoint);
  }
}

/** A browser with a service worker, and its push service. */
class Browser {
  permission: NotificationPermission = "granted";
  subscription: { endpoint: string; key: string } | undefined;
  subscribeError: Error | undefined;
  count = 0;

  readonly registration = {
    pushManager: {
      getSubscription: async () => this.#current() ?? null,
      subscribe: async (options: { userVisibleOnly: boolean; applicationServerKey: string }) => {
        if (this.subscribeError) throw this.subscribeError;
        expect(options.userVisibleOnly).toBe(true);
        // Browsers refuse this.
        if (this.subscription) throw new DOMException("another key", "InvalidStateError");
        this.count++;
        const endpoint = `https://push.example/${this.count}`;
        this.subscription = { endpoint, key: options.applicationServerKey };
        return this.#current();
      },
    },
  } as unknown as ServiceWorkerRegistration;

  #current() {
    const subscription = this.subscription;
    if (!subscription) return undefined;
    const { buffer } = new Uint8Array(Buffer.from(subscription.key, "base64url"));
    return {
      endpoint: subscription.endpoint,
      options: { applicationServerKey: buffer },
      toJSON: () => ({ endpoint: subscription.endpoint, keys: { p256dh: "p", auth: "a" } }),
      unsubscribe: async () => {
        this.subscription = undefined;
        return true;
      },
    };
  }

  /** Makes it the browser of the page. */
  use(): void {
    const { registration } = this;
    const serviceWorker = { getRegistration: async () => registration, ready: Promise.resolve(registration) };
    vi.stubGlobal("navigator", { serviceWorker });
    vi.stubGlobal(
      "Notification",
      Object.assign(() => {}, { permission: this.permission }),
    );
  }
}

let server: Server;
let browser: Browser;

beforeEach(() => {
  server = new Server();
  browser = new Browser();
  browser.use();
});

afterEach(() => {
  vi.unstubAllGlobals();
});

const enable = (options = {}) => enablePush(server.client, options);
const disable = (options = {}) => disablePush(server.client, options);

test("the browser subscribes with the key of the server, and is registered once", async () => {
  expect(await enable()).toBe("enabled");
  expect(browser.subscription).toEqual({ endpoint: "https://push.example/1", key: KEY });
  expect(server.devices.at(-1)).toMatchObject({
    endpoint: "https://push.example/1",
    keys: { p256dh: "p", auth: "a" },
  });
  expect(await enable()).toBe("enabled");
  expect(server.requests.filter((request) => request.startsWith("POST"))).toHaveLength(1);
  expect(browser.count).toBe(1);
});

test("another key of the server makes the browser subscribe again, and the old device is removed", async () => {
  await enable();
  server.key = OTHER_KEY;
  expect(await enable()).toBe("enabled");
  expect(browser.subscription).toEqual({ endpoint: "https://push.example/2", key: OTHER_KEY });
  expect(server.endpoints).toEqual([null, "https://push.example/2"]);
});

test("a subscription that the browser or another user has changed is registered again", async () => {
  await enable();
  browser.subscription = { endpoint: "https://push.example/changed", key: KEY };
  await enable();
  expect(server.endpoints).toContain("https://push.example/changed");
  server.devices = [];
  await enable();
  expect(server.endpoints).toEqual(["https://push.example/changed"]);
});

test("without push, a service worker or the permission nothing is requested, and the result says why", async () => {
  browser.permission = "default";
  browser.use();
  expect(await enable()).toBe("not_permitted");
  browser.permission = "denied";
  browser.use();
  expect(await enable()).toBe("not_permitted");
  const serviceWorker = { getRegistration: async (): Promise<unknown> => undefined };
  vi.stubGlobal("navigator", { serviceWorker });
  expect(await enable()).toBe("not_supported");
  serviceWorker.getRegistration = () => Promise.reject(new DOMException("forbidden", "SecurityError"));
  expect(await enable()).toBe("not_supported");
  expect(await enable({ registration: {} })).toBe("not_supported");
  vi.stubGlobal("navigator", {});
  expect(await enable()).toBe("not_supported");
  await disable();
  expect(server.requests).toEqual([]);
});

test("enablePush returns a state if push is missing or refused", async () => {
  server.key = undefined;
  expect(await enable()).toBe("not_offered");
  expect(browser.count).toBe(0);
  server.key = KEY;
  browser.subscribeError = new DOMException("denied", "NotAllowedError");
  expect(await enable()).toBe("not_permitted");
  expect(server.endpoints).toEqual([null]);
});

test("a browser without a push service, and a server that fails, are errors", async () => {
  browser.subscribeError = new DOMException("push service error", "AbortError");
  await expect(enable()).rejects.toMatchObject({ name: "TidingsError", code: "unavailable" });
  browser.subscribeError = undefined;
  server.fail = (request) => (request.startsWith("POST") ? new TidingsError("too_large") : undefined);
  await expect(enable()).rejects.toMatchObject({ code: "too_large" });
  server.fail = undefined;
  expect(await enable()).toBe("enabled");
});

test("a sign-out ends the subscription and removes the device, and no other", async () => {
  await enable();
  await disable();
  expect(browser.subscription).toBeUndefined();
  expect(server.endpoints).toEqual([null]);
  server.requests.length = 0;
  await disable();
  expect(server.requests).toEqual([]);
});

test("a sign-out ends the subscription even if the server cannot be reached", async () => {
  await enable();
  server.fail = () => new TidingsError("network");
  await expect(disable()).rejects.toMatchObject({ code: "network" });
  expect(browser.subscription).toBeUndefined();
});

test("an earlier enablePush does not overtake disablePush", async () => {
  let open = () => {};
  server.gate = { method: "POST", opened: new Promise((resolve) => (open = resolve)) };
  const enabled = enable();
  await vi.waitFor(() => expect(server.requests).toContain("POST /me/devices"));
  const controller = new AbortController();
  const disabled = disable({ signal: controller.signal });
  controller.abort();
  await expect(disabled).rejects.toMatchObject({ code: "closed" });
  expect(browser.subscription).toBeDefined();
  open();
  expect(await enabled).toBe("enabled");
  await vi.waitFor(() => expect(browser.subscription).toBeUndefined());
});
