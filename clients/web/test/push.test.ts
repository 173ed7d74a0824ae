// Push messages in the service worker, run with a stand-in for the browser.
import { readFileSync } from "node:fs";
import { expect, test, vi } from "vitest";

const source = readFileSync(new URL("../pwa/worker.js", import.meta.url), "utf8");

/** What a notification of the worker has, as `getNotifications` returns it. */
interface Shown {
  readonly title: string;
  readonly body?: string;
  readonly tag?: string;
  readonly data?: object;
}

/** A worker with one page of the demo, or with none. */
function createWorker({ hasPage = false, focusFails = false } = {}) {
  const handlers = new Map<string, (event: unknown) => void>();
  const postMessage = vi.fn();
  const focus = async () => {
    if (focusFails) throw new DOMException("no click", "InvalidAccessError");
  };
  const page = { url: "http://demo/#/", visibilityState: "visible", postMessage, focus };
  const openWindow = vi.fn(async () => undefined);
  let shown: Shown[] = [];
  const showNotification = vi.fn(async (title: string, options: Omit<Shown, "title">) => {
    shown = shown.filter(({ tag }) => tag === undefined || tag !== options.tag);
    shown.push({ title, ...options });
  });
  const getNotifications = async ({ tag }: { tag: string }) => shown.filter((one) => one.tag === tag);
  const self = {
    addEventListener: (type: string, handler: (event: unknown) => void) => handlers.set(type, handler),
    clients: { matchAll: async () => (hasPage ? [page] : []), openWindow },
    registration: { showNotification, getNotifications },
    location: { origin: "http://demo" },
  };
  new Function("SHELL", "self", source)({ version: "1", files: [] }, self);
  const fire = async (type: string, event: object) => {
    let done: Promise<unknown> | undefined;
    handlers.get(type)?.({ ...event, waitUntil: (work: Promise<unknown>) => (done = work) });
    await done;
  };
  return {
    push: (content: unknown) =>
      fire("push", { data: { json: () => (typeof content === "string" ? JSON.parse(content) : content) } }),
    click: (data: object) => fire("notificationclick", { notification: { close: () => {}, data } }),
    changeSubscription: () => fire("pushsubscriptionchange", {}),
    /** Title and text of the notifications that the user sees. */
    texts: () => shown.map(({ title, body }) => `${title} | ${body}`),
    postMessage,
    openWindow,
    showNotification,
  };
}

const message = { type: "message", room: "r1", seq: 7, title: "Kitchen", sender: "Bo", unread: 1 };

test("a push message is shown with the tag of its room, also while a page is visible", async () => {
  for (const hasPage of [false, true]) {
    const worker = createWorker({ hasPage });
    await worker.push({ ...message, body: "tea?" });
    expect(worker.showNotification.mock.calls).toEqual([
      ["Kitchen", { body: "Bo: tea?", icon: "/icon.svg", data: { room: "r1", seq: 7 }, tag: "tidings/r1" }],
    ]);
  }
});

test.each([
  [{}, "Kitchen | New message from Bo"],
  [{ unread: 3 }, "Kitchen | 3 new messages"],
  [{ unread: 100 }, "Kitchen | 100 or more new messages"],
  [{ title: "Bo" }, "Bo | New message"],
  [{ title: "Bo", body: "tea?", unread: 3 }, "Bo | tea?"],
  [{ title: undefined, sender: undefined, unread: 2 }, "Tidings | 2 new messages"],
  [{ title: undefined, sender: undefined }, "Tidings | New message"],
])("the text of a notification with %o is %s", async (fields, text) => {
  const worker = createWorker();
  await worker.push({ ...message, ...fields });
  expect(worker.texts()).toEqual([text]);
});

test("a later message replaces the notification of its room, and an earlier or equal one does not", async () => {
  const worker = createWorker();
  await worker.push({ ...message, body: "one" });
  await worker.push({ ...message, room: "r2", body: "elsewhere" });
  await worker.push({ ...message, seq: 9, body: "three" });
  await worker.push({ ...message, seq: 8, body: "two" });
  await worker.push({ ...message, seq: 9 });
  expect(worker.texts().sort()).toEqual(["Kitchen | Bo: elsewhere", "Kitchen | Bo: three"]);
  // Browsers count the messages for which a worker shows nothing.
  expect(worker.showNotification).toHaveBeenCalledTimes(5);
});

test("a damaged push message still shows a notification", async () => {
  for (const text of ["no json", "null", '{"title":5,"sender":[],"unread":-1,"room":{},"seq":"x"}']) {
    const worker = createWorker();
    await worker.push(text);
    expect(worker.showNotification.mock.calls, text).toEqual([
      ["Tidings", { body: "New message", icon: "/icon.svg", data: { room: undefined, seq: undefined } }],
    ]);
  }
});

test("a long text is cut between visible characters, and a name reverses nothing", async () => {
  const worker = createWorker();
  await worker.push({ ...message, sender: "\u202eBo", body: `x${"👍🏽".repeat(300)}` });
  await worker.push({ ...message, room: "r2", title: "\u2067Kitchen", body: "tea?" });
  expect(worker.texts().sort()).toEqual(["Kitchen | Bo: tea?", `Kitchen | Bo: x${"👍🏽".repeat(124)}`]);
});

test("a click opens the message in the page, or in a new one", async () => {
  for (const focusFails of [false, true]) {
    const open = createWorker({ hasPage: true, focusFails });
    await open.click({ room: "r1", seq: 7 }).catch(() => {});
    expect(open.postMessage).toHaveBeenCalledWith({ type: "tidings:open", room: "r1", seq: 7 });
    expect(open.openWindow).not.toHaveBeenCalled();
  }
  const closed = createWorker();
  await closed.click({ room: "a/b", seq: 7 });
  expect(closed.openWindow).toHaveBeenCalledWith("/#/room/a%2Fb/at/7");
});

test("a page is told that the subscription has changed", async () => {
  const worker = createWorker({ hasPage: true });
  await worker.changeSubscription();
  expect(worker.postMessage.mock.calls).toEqual([[{ type: "tidings:subscription" }]]);
});

test("a browser without Intl.Segmenter cuts a long text between code points", async () => {
  vi.stubGlobal("Intl", Object.create(Intl, { Segmenter: { value: undefined } }));
  const worker = createWorker();
  await worker.push({ ...message, title: "Bo", body: `x${"😀".repeat(400)}` });
  vi.unstubAllGlobals();
  expect(worker.texts()).toEqual([`Bo | x${"😀".repeat(249)}`]);
});
