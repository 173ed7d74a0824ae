// @vitest-environment jsdom
// Push messages: when the page registers its browser for them, and the notifications of the service worker.
import { act, waitFor } from "@testing-library/react";
import { afterEach, expect, test, vi } from "vitest";
import { ChatUiProvider, Notifications } from "../src/index.js";
import { show } from "./support.js";

afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

interface WorkerNotification {
  readonly title: string;
  readonly tag: string;
  readonly data: { readonly room: string; readonly seq: number };
  close(): void;
}

/** A browser with a service worker. */
class Browser extends EventTarget {
  permission: NotificationPermission = "default";
  shown: WorkerNotification[] = [];
  /** The titles of the notifications that the page has shown itself. */
  readonly shownByPage: string[] = [];
  readonly closedByPage: string[] = [];
  endpoint: string | undefined;
  readonly permissionStatus = new EventTarget();
  readonly registration = {
    pushManager: {
      getSubscription: async () => this.#subscription() ?? null,
      subscribe: async () => {
        this.endpoint = "https://push.example/1";
        return this.#subscription();
      },
    },
    showNotification: async (title: string, { tag, data }: WorkerNotification) => {
      const close = () => {
        this.shown = this.shown.filter((one) => one !== notification);
      };
      const notification = { title, tag, data, close };
      this.shown = [...this.shown.filter((one) => one.tag !== tag), notification];
    },
    getNotifications: async () => this.shown,
  };

  #subscription() {
    const endpoint = this.endpoint;
    const options = { applicationServerKey: new Uint8Array([4]).buffer };
    return endpoint && { endpoint, options, toJSON: () => ({ endpoint }) };
  }

  use({ hasWorker = true } = {}): void {
    const container = Object.assign(this, {
      ready: hasWorker ? Promise.resolve(this.registration) : new Promise(() => {}),
      getRegistration: async () => (hasWorker ? this.registration : undefined),
    });
    const permissions = { query: async () => this.permissionStatus };
    const values = { serviceWorker: { value: container }, permissions: { value: permissions } };
    vi.stubGlobal("navigator", Object.create(navigator, values));
    const { permission, shownByPage, closedByPage } = this;
    class PageNotification {
      static permission = permission;
      constructor(readonly title: string) {
        shownByPage.push(title);
      }
      close = () => void closedByPage.push(this.title);
    }
    vi.stubGlobal("Notification", PageNotification);
  }

  /** The user answers the question of the browser. */
  permit(): void {
    (Notification as { permission: NotificationPermission }).permission = "granted";
    this.permissionStatus.dispatchEvent(new Event("change"));
  }
}

/** Shows a hidden page whose server has push, unless `offers` is false. */
async function showPage({ push = true, offers = true } = {}) {
  vi.spyOn(document, "hidden", "get").mockReturnValue(true);
  const page = show(
    <ChatUiProvider user="alice">
      <Notifications push={push} />
    </ChatUiProvider>,
  );
  page.server.http = (method, path) => {
    if (path === "/push/key")
      return offers ? { status: 200, body: { key: "BA" } } : { status: 404, body: {} };
    if (path === "/me/devices")
      return method === "GET" ? { status: 200, body: { devices: [] } } : { status: 201, body: { id: "d" } };
    return undefined;
  };
  await waitFor(() => expect(page.client.rooms.get().items.length).toBe(2));
  await act(async () => {});
  const pushRequests = () => page.server.requests.filter((request) => /push|devices/.test(request));
  const say = async (content: string) => {
    page.server.say("garden", "bob", content);
    await waitFor(() => expect(page.client.rooms.get().items[0]?.lastMessage?.content).toBe(content));
    await act(async () => {});
  };
  return { ...page, pushRequests, say };
}

const REGISTRATION = ["GET /push/key", "GET /me/devices", "POST /me/devices"];

test("the browser is registered once the user permits notifications, and again after a change", async () => {
  const browser = new Browser();
  browser.use();
  const { pushRequests } = await showPage();
  expect(pushRequests()).toEqual([]);
  browser.permit();
  await waitFor(() => expect(pushRequests()).toEqual(REGISTRATION));
  browser.permit();
  await act(async () => {});
  expect(pushRequests()).toEqual(REGISTRATION);
  browser.dispatchEvent(new MessageEvent("message", { data: { type: "tidings:subscription" } }));
  await waitFor(() => expect(pushRequests()).toEqual([...REGISTRATION, ...REGISTRATION]));
});

test("a server without push is asked once, and without the property push never", async () => {
  const browser = new Browser();
  browser.permission = "granted";
  browser.use();
  const { pushRequests, unmount, client } = await showPage({ offers: false });
  await waitFor(() => expect(pushRequests()).toEqual(["GET /push/key"]));
  client.disconnect();
  await client.connect();
  // A second request would come before the answers to these.
  for (let count = 0; count < 2; count++) await client.http("GET", "/me/rooms");
  expect(pushRequests()).toEqual(["GET /push/key"]);
  expect(browser.endpoint).toBeUndefined();
  unmount();
  const other = await showPage({ push: false });
  for (let count = 0; count < 2; count++) await other.client.http("GET", "/me/rooms");
  expect(other.pushRequests()).toEqual([]);
});

test("a failed registration is repeated with the next connection", async () => {
  const browser = new Browser();
  browser.permission = "granted";
  browser.use();
  const subscribe = vi
    .spyOn(browser.registration.pushManager, "subscribe")
    .mockRejectedValueOnce(new Error());
  const { pushRequests, client } = await showPage();
  await waitFor(() => expect(subscribe).toHaveBeenCalledTimes(1));
  await act(async () => {});
  client.disconnect();
  await client.connect();
  await waitFor(() => expect(pushRequests()).toContain("POST /me/devices"));
});

test("worker notifications are closed when their room is read", async () => {
  const browser = new Browser();
  browser.permission = "granted";
  browser.use();
  const { say, client } = await showPage();
  await say("one");
  await say("two");
  await waitFor(() =>
    expect(browser.shown.map(({ tag, data }) => `${tag} ${data.seq}`)).toEqual(["tidings/garden 2"]),
  );
  // A push message of another room, which is not read.
  const other = { tag: "tidings/kitchen", data: { room: "kitchen", seq: 9 } };
  await browser.registration.showNotification("kitchen", other as WorkerNotification);
  expect(browser.shownByPage).toEqual([]);
  const room = client.room("garden");
  const close = room.open();
  await waitFor(() => expect(room.state.get().phase).toBe("live"));
  room.markRead(2);
  await waitFor(() => expect(browser.shown.map(({ tag }) => tag)).toEqual(["tidings/kitchen"]));
  close();
});

test("without a worker the page shows and closes the notifications itself", async () => {
  const browser = new Browser();
  browser.permission = "granted";
  browser.use({ hasWorker: false });
  const { say, client, pushRequests } = await showPage();
  await say("one");
  await waitFor(() => expect(browser.shownByPage).toHaveLength(1));
  expect(browser.closedByPage).toEqual([]);
  const room = client.room("garden");
  const close = room.open();
  await waitFor(() => expect(room.state.get().phase).toBe("live"));
  room.markRead(1);
  await waitFor(() => expect(browser.closedByPage).toEqual(browser.shownByPage));
  expect(pushRequests()).toEqual([]);
  close();
});
