// @vitest-environment jsdom
import { act, render, renderHook, waitFor } from "@testing-library/react";
import { StrictMode } from "react";
import { afterEach, beforeEach, expect, test } from "vitest";
import { useMessages, useRead } from "../src/index.js";
import { FakeIntersectionObserver, setPageVisibility } from "./fakeIntersectionObserver.js";
import { clientOf, live, startServer } from "./support.js";

let restore: () => void;

beforeEach(() => {
  restore = FakeIntersectionObserver.install();
});

afterEach(() => {
  restore();
  setPageVisibility("visible");
});

function List() {
  const { items } = useMessages("kitchen");
  const { observe } = useRead("kitchen");
  return items.map((message) => (
    <p key={message.key} data-seq={message.seq} ref={observe(message.seq)}>
      {message.content}
    </p>
  ));
}

function Row({ seq }: { seq: number }) {
  return <p ref={useRead("kitchen").observe(seq)}>row</p>;
}

/** A page with ten messages from Bob. */
async function kitchen() {
  const { network, server } = startServer();
  server.addRoom("kitchen");
  for (let n = 1; n <= 10; n += 1) server.say("kitchen", "bob", `message ${n}`);
  const { client, wrapper } = clientOf(network);
  const view = render(
    <StrictMode>
      <List />
    </StrictMode>,
    { wrapper },
  );
  await client.connect();
  await live(client.room("kitchen"));
  await waitFor(() => expect(FakeIntersectionObserver.observed).toBe(10));
  const element = (seq: number): Element => {
    const found = view.container.querySelector(`[data-seq="${seq}"]`);
    if (found === null) throw new Error(`no element of ${seq}`);
    return found;
  };
  const marks = () => server.framesOf("message:read").map((frame) => frame.seq);
  const pause = () => new Promise((done) => setTimeout(done, 700));
  return { server, client, element, marks, pause, unmount: view.unmount };
}

test("visible messages are marked as read with one mark for the highest seq", async () => {
  const { element, marks, pause } = await kitchen();
  act(() => FakeIntersectionObserver.show([1, 2, 3, 4].map(element)));
  await waitFor(() => expect(marks()).toEqual([4]));
  act(() => FakeIntersectionObserver.show([2, 3].map(element)));
  await pause();
  expect(marks()).toEqual([4]);
});

test("less than half of a message is not read, but half a screen of a long message is", async () => {
  const { element, marks, pause } = await kitchen();
  act(() => FakeIntersectionObserver.show([element(1)], 0.4));
  await pause();
  expect(marks()).toEqual([]);
  act(() => FakeIntersectionObserver.show([element(1)], 0.3, { height: 4000, screen: 800 }));
  await waitFor(() => expect(marks()).toEqual([1]));
});

test("a hidden page marks nothing as read until it is visible", async () => {
  const { element, marks, pause } = await kitchen();
  setPageVisibility("hidden");
  act(() => FakeIntersectionObserver.show([1, 2, 3].map(element)));
  await pause();
  expect(marks()).toEqual([]);
  setPageVisibility("visible");
  await waitFor(() => expect(marks()).toEqual([3]));
});

test("a message that is only scrolled past is not marked as read", async () => {
  const { element, marks } = await kitchen();
  act(() => {
    FakeIntersectionObserver.show([element(9)]);
    FakeIntersectionObserver.show([element(9)], 0);
    FakeIntersectionObserver.show([element(5)]);
  });
  await waitFor(() => expect(marks()).toEqual([5]));
});

test("an unmounted list observes no elements", async () => {
  const { element, marks, unmount, pause } = await kitchen();
  const last = element(10);
  unmount();
  expect(FakeIntersectionObserver.observed).toBe(0);
  FakeIntersectionObserver.show([last]);
  await pause();
  expect(marks()).toEqual([]);
});

test("a reused element in a virtual list counts for its new message", async () => {
  const { network, server } = startServer();
  server.addRoom("kitchen");
  for (let n = 1; n <= 10; n += 1) server.say("kitchen", "bob", `message ${n}`);
  const { client, wrapper } = clientOf(network);
  const release = client.room("kitchen").open();
  await client.connect();
  await live(client.room("kitchen"));
  const { container, rerender } = render(<Row seq={3} />, { wrapper });
  const element = container.querySelector("p") as Element;
  rerender(<Row seq={7} />);
  expect(container.querySelector("p")).toBe(element);
  expect(FakeIntersectionObserver.observed).toBe(1);
  act(() => FakeIntersectionObserver.show([element]));
  await waitFor(() => expect(server.framesOf("message:read").map((frame) => frame.seq)).toEqual([7]));
  release();
});

test("a message has the same ref in every render, and a message without a seq has none", async () => {
  const { network, server } = startServer();
  server.addRoom("kitchen");
  const { wrapper } = clientOf(network);
  const { result, rerender } = renderHook(() => useRead("kitchen"), { wrapper });
  const { observe } = result.current;
  const ref = observe(1);
  rerender();
  expect(result.current.observe).toBe(observe);
  expect(result.current.observe(1)).toBe(ref);
  expect(result.current.observe(undefined)).toBeUndefined();
});

test("seen marks messages as read and never moves the mark back", async () => {
  const { network, server } = startServer();
  server.addRoom("kitchen");
  for (let n = 1; n <= 10; n += 1) server.say("kitchen", "bob", `message ${n}`);
  const { client, wrapper } = clientOf(network);
  const { result } = renderHook(() => useRead("kitchen"), { wrapper });
  const release = client.room("kitchen").open();
  await client.connect();
  await live(client.room("kitchen"));
  result.current.seen(6);
  await waitFor(() => expect(server.framesOf("message:read").map((frame) => frame.seq)).toEqual([6]));
  result.current.seen(4);
  result.current.seen(8);
  await waitFor(() => expect(server.framesOf("message:read").map((frame) => frame.seq)).toEqual([6, 8]));
  release();
});
