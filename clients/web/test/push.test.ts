// Push messages in the service worker, run with a stand-in for the browser.
import { readFileSync } from "node:fs";
import { expect, test, vi } from "vitest";

const source = readFileSync(new URL("../pwa/worker.js", import.meta.url), "utf8");

/** A worker with one page of the demo, or with none. */
function createWorker(visibilityState?: "visible" | "hidden") {
  const handlers = new Map<string, (event: unknown) => void>();
  const postMessage = vi.fn();
  const page = { url: "http://demo/#/", visibilityState, postMessage, focus: async () => page };
  const openWindow = vi.fn(async () => undefined);
  const showNotification = vi.fn(async () => undefined);
  const self = {
    addEventListener: (type: string, handler: (event: unknown) => void) => handlers.set(type, handler),
    clients: { matchAll: async () => (visibilityState === undefined ? [] : [page]), openWindow },
    registration: { showNotification },
    location: { origin: "http://demo" },
  };
  new Function("SHELL", "self", source)({ version: "1", files: [] }, self);
  const fire = async (type: string, event: object) => {
    let done: Promise<unknown> | undefined;
    handlers.get(type)?.({ ...event, waitUntil: (work: Promise<unknown>) => (done = work) });
    await done;
  };
  return {
    push: (text: string) => fire("push", { data: { json: () => JSON.parse(text) } }),
    click: (data: object) => fire("notificationclick", { notification: { close: () => {}, data } }),
    postMessage,
    openWindow,
    showNotification,
  };
}

test("a push message is shown with the tag of its room, unless a page is visible", async () => {
  const text = JSON.stringify({ title: "Bo", body: "tea?", room: "r1", seq: 7 });
  const shown = ["Bo", { body: "tea?", icon: "/icon.svg", data: { room: "r1", seq: 7 }, tag: "tidings/r1" }];
  const hidden = createWorker("hidden");
  await hidden.push(text);
  expect(hidden.showNotification.mock.calls).toEqual([shown]);
  const visible = createWorker("visible");
  await visible.push(text);
  expect(visible.showNotification).not.toHaveBeenCalled();
});

test("a damaged push message still shows a notification", async () => {
  for (const text of ["no json", "null", '{"title":5,"room":{},"seq":"x"}']) {
    const worker = createWorker();
    await worker.push(text);
    expect(worker.showNotification.mock.calls, text).toEqual([
      ["Tidings", { body: "New message", icon: "/icon.svg", data: { room: undefined, seq: undefined } }],
    ]);
  }
});

test("a click opens the message in the page, or in a new one", async () => {
  const open = createWorker("hidden");
  await open.click({ room: "r1", seq: 7 });
  expect(open.postMessage).toHaveBeenCalledWith({ type: "tidings:open", room: "r1", seq: 7 });
  expect(open.openWindow).not.toHaveBeenCalled();
  const closed = createWorker();
  await closed.click({ room: "a/b", seq: 7 });
  expect(closed.openWindow).toHaveBeenCalledWith("/#/room/a%2Fb/at/7");
});
