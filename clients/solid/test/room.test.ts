import type { TidingsClientLike } from "@tidings/client";
import { createComponent, For } from "solid-js";
import h from "solid-js/h";
import { render } from "solid-js/web";
import { expect, test } from "vitest";
import { testRoomComponent } from "../../tools/room-component-tests.js";
import { TidingsProvider, useRoom, useStore } from "../src/index.js";

function Room() {
  const room = useRoom("kitchen");
  const messages = useStore(room.messages);
  return [
    createComponent(For, {
      get each() {
        return messages().items.map((message) => message.content);
      },
      children: (content: string) => h("p", content) as never,
    }),
    h("button", { onClick: () => room.send("Hello") }) as never,
  ];
}

/** Shows the room in a page. */
function show(client: TidingsClientLike) {
  const page = document.createElement("div");
  // Solid handles the clicks of elements in the document only.
  document.body.append(page);
  const App = () =>
    createComponent(TidingsProvider, {
      client,
      get children() {
        return createComponent(Room, {});
      },
    });
  return { page, unmount: render(App, page) };
}

testRoomComponent(show);

test("a component without a client throws an error that says how to provide one", () => {
  expect(() => render(() => createComponent(Room, {}), document.createElement("div"))).toThrow(
    /TidingsProvider/,
  );
});
