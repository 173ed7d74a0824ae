import type { TidingsClientLike } from "@tidings/client";
import { countSubscriptions, TestNetwork } from "@tidings/client/testing";
import { afterEach, expect, test } from "vitest";
import { createApp, defineComponent, h } from "vue";
import { provideTidings, tidings, useRoom, useStore, useTidings } from "../src/index.js";

const Room = defineComponent({
  setup() {
    const room = useRoom("kitchen");
    const messages = useStore(room.messages);
    return () => [
      messages.value.items.map((message) => h("p", { key: message.key }, message.content)),
      h("button", { onClick: () => room.send("Hello") }),
    ];
  },
});

/** Shows the room in a page. */
function show(client: TidingsClientLike) {
  const page = document.createElement("div");
  const app = createApp(Room).use(tidings(client));
  app.mount(page);
  return {
    page,
    texts: () => [...page.querySelectorAll("p")].map((p) => p.textContent),
    unmount: () => app.unmount(),
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

test("a component provides the client to the components inside it", () => {
  const client = new TestNetwork().client();
  let used: TidingsClientLike | undefined;
  const Inner = () => {
    used = useTidings();
    return null;
  };
  const Outer = defineComponent({
    setup() {
      provideTidings(client);
      return () => h(Inner);
    },
  });
  const app = createApp(Outer);
  app.mount(document.createElement("div"));
  app.unmount();
  expect(used).toBe(client);
});

test("a component without a client throws an error that says how to provide one", () => {
  const app = createApp(Room);
  app.config.warnHandler = () => {};
  expect(() => app.mount(document.createElement("div"))).toThrow(/provideTidings/);
});
