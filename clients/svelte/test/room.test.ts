import type { TidingsClientLike } from "@tidings/client";
import { flushSync, mount, unmount } from "svelte";
import { expect, test } from "vitest";
import { testRoomComponent } from "../../tools/room-component-tests.js";
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
    unmount() {
      if (mounted) void unmount(app);
      mounted = false;
    },
  };
}

testRoomComponent(show);

test("a component without a client throws an error that says how to provide one", () => {
  expect(() => mount(Room, { target: document.createElement("div"), props: {} })).toThrow(/provideTidings/);
});
