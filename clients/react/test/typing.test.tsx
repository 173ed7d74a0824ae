// @vitest-environment jsdom
import { act, renderHook, waitFor } from "@testing-library/react";
import { expect, test } from "vitest";
import { useTyping } from "../src/index.js";
import { clientOf, live, startServer } from "./support.js";

async function kitchen() {
  const { network, server } = startServer();
  server.addRoom("kitchen");
  const { client, wrapper } = clientOf(network);
  const release = client.room("kitchen").open();
  await client.connect();
  await live(client.room("kitchen"));
  return { server, wrapper, client, release };
}

test("a typing user is shown until they stop", async () => {
  const { server, wrapper } = await kitchen();
  const { result } = renderHook(() => useTyping("kitchen"), { wrapper });
  expect(result.current.typing).toEqual([]);
  server.push({
    type: "typing:start",
    room: "kitchen",
    user: { id: "bob", name: "Bob" },
    expires_ms: 60_000,
  });
  await waitFor(() => expect(result.current.typing).toEqual([{ id: "bob", name: "Bob" }]));
  server.push({ type: "typing:stop", room: "kitchen", user: { id: "bob" } });
  await waitFor(() => expect(result.current.typing).toEqual([]));
});

test("a typing user without a stop disappears after the expiry", async () => {
  const { server, wrapper } = await kitchen();
  const { result } = renderHook(() => useTyping("kitchen"), { wrapper });
  server.push({ type: "typing:start", room: "kitchen", user: { id: "bob", name: "Bob" }, expires_ms: 300 });
  await waitFor(() => expect(result.current.typing.length).toBe(1));
  await waitFor(() => expect(result.current.typing).toEqual([]), { timeout: 5000 });
});

test("many key presses send one start, and unmounting sends the stop", async () => {
  const { server, wrapper } = await kitchen();
  const { result, unmount } = renderHook(() => useTyping("kitchen"), { wrapper });
  act(() => {
    for (let n = 0; n < 10; n += 1) result.current.typed();
  });
  await waitFor(() => expect(server.framesOf("typing:start").length).toBe(1));
  expect(server.framesOf("typing:stop").length).toBe(0);
  unmount();
  await waitFor(() => expect(server.framesOf("typing:stop").length).toBe(1));
  expect(server.framesOf("typing:start").length).toBe(1);
});

test("a component that only shows the typing users sends no stop when it unmounts", async () => {
  const { server, wrapper, client } = await kitchen();
  const onlyShows = renderHook(() => useTyping("kitchen"), { wrapper });
  const typer = renderHook(() => useTyping("kitchen"), { wrapper });
  act(() => typer.result.current.typed());
  await waitFor(() => expect(server.framesOf("typing:start").length).toBe(1));
  onlyShows.unmount();
  // When this request is answered, every earlier frame has arrived.
  await client.request({ type: "ping" });
  expect(server.framesOf("typing:stop").length).toBe(0);
});
