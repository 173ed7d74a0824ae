import type { TidingsClientLike } from "@tidings/client";
import { TestNetwork } from "@tidings/client/testing";
import { expect, test } from "vitest";
import { createApp, defineComponent, h } from "vue";
import { testRoomComponent } from "../../tools/room-component-tests.js";
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
  return { page, unmount: () => app.unmount() };
}

testRoomComponent(show);

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
