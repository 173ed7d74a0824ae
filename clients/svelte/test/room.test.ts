import type { TidingsClientLike } from "@tidings/client";
import { countSubscriptions, TestNetwork } from "@tidings/client/testing";
import { flushSync, mount, unmount } from "svelte";
import { afterEach, expect, test } from "vitest";
import App from "./App.svelte";
import Room from "./Room.svelte";

/** Shows the room in a page. */
function show(client: TidingsClientLike) {
  const page = document.createElement("div");
  // Svelte handles the clicks of elements in the document only.
  document.body.append(page);
  const app = mount(App, { target: page, props: { client } });
  flushSync();
  let mounted = true;
  return {
    page,
    texts: () => [...page.querySelectorAll("p")].map((p) => p.textContent),
    unmount() {
      if (mounted) void unmount(app);
      mounted = false;
    },
  };
}

const cleanups: (() => void)[] = [];

afterEach(() => {
  for (const end of cleanups.splice(0)) end();
});

/** Connects a client to a server whose room has one message, and shows the room in a page. */
async function start() {
  const network = new TestNetwork({ rooms: ["kitchen"] });
  network.server.say("kitchen", "bob", "tea?");
  const client = network.client();
  client.connect().catch(() => {});
  await network.clock.pass(100);
  const room = client.room("kitchen");
  const subscriptions = countSubscriptions(room.messages);
  const page = show(client);
  cleanups.push(page.unmount, () => client.close());
  await network.clock.pass(100);
  return { network, client, room, subscriptions, ...page };
}

test("a component shows the messages that arrive", async () => {
  const { network, texts } = await start();
  expect(texts()).toEqual(["tea?"]);
  network.server.say("kitchen", "bob", "now?");
  await network.clock.pass(100);
  expect(texts()).toEqual(["tea?", "now?"]);
});

test("a message that the component sends reaches the server and the page", async () => {
  const { network, page, texts } = await start();
  page.querySelector("button")?.click();
  await network.clock.pass(100);
  expect(network.server.contents("kitchen")).toEqual(["tea?", "Hello"]);
  expect(texts()).toEqual(["tea?", "Hello"]);
});

test("a component that unmounts releases the room and leaves no subscription", async () => {
  const { network, room, subscriptions, unmount } = await start();
  expect(room.state.get().phase).toBe("live");
  expect(subscriptions()).toBe(1);
  unmount();
  expect(subscriptions()).toBe(0);
  // The kit keeps a released room open for some seconds.
  await network.clock.pass(10_000);
  expect(room.state.get().phase).toBe("closed");
});

test("a component without a client throws an error that says how to provide one", () => {
  expect(() => mount(Room, { target: document.createElement("div"), props: {} })).toThrow(/provideTidings/);
});
