// Tests of a component that shows a room. The packages for Vue, Svelte and Solid share them: each package calls
// `testRoomComponent` with its own component.
import type { TidingsClientLike } from "@tidings/client";
import { countSubscriptions, TestNetwork } from "@tidings/client/testing";
import { afterEach, expect, test } from "vitest";

/** A page with the component: a paragraph for each message of the room `kitchen`, and a button that sends "Hello". */
interface RoomPage {
  readonly page: HTMLElement;
  /** Unmounts the component. It may be called twice. */
  readonly unmount: () => void;
}

const cleanups: (() => void)[] = [];

/** Tests the component that `show` shows in a page. */
export function testRoomComponent(show: (client: TidingsClientLike) => RoomPage): void {
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
    const { page, unmount } = show(client);
    cleanups.push(unmount, () => client.close());
    await network.clock.pass(100);
    const texts = () => [...page.querySelectorAll("p")].map((p) => p.textContent);
    return { network, room, subscriptions, page, texts, unmount };
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
}
