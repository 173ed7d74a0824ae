// @vitest-environment jsdom
import { act, render, renderHook, waitFor } from "@testing-library/react";
import { StrictMode } from "react";
import { afterEach, beforeEach, expect, test } from "vitest";
import { useMessages, useRead } from "../src/index.js";
import { page, Sight } from "./sight.js";
import { clientOf, live, scripted } from "./support.js";

let restore: () => void;

beforeEach(() => {
  restore = Sight.install();
});

afterEach(() => {
  restore();
  page("visible");
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

/** Ten messages of Bob's on the page. */
async function kitchen() {
  const server = await scripted();
  const log = server.addRoom("kitchen");
  for (let n = 1; n <= 10; n += 1) log.append("bob", `b${n}`, `message ${n}`);
  const { client, wrapper } = clientOf(server);
  const view = render(
    <StrictMode>
      <List />
    </StrictMode>,
    { wrapper },
  );
  await client.connect();
  await live(client.room("kitchen"));
  await waitFor(() => expect(Sight.observed).toBe(10));
  const element = (seq: number): Element => {
    const found = view.container.querySelector(`[data-seq="${seq}"]`);
    if (found === null) throw new Error(`no element of ${seq}`);
    return found;
  };
  const marks = () => server.framesOf("message:read").map((frame) => frame.seq);
  const pause = () => new Promise((done) => setTimeout(done, 700));
  return { server, client, element, marks, pause, unmount: view.unmount };
}

test("what is in sight is marked as read, as one mark of the highest", async () => {
  const { element, marks, pause } = await kitchen();
  act(() => Sight.show([1, 2, 3, 4].map(element)));
  await waitFor(() => expect(marks()).toEqual([4]));
  act(() => Sight.show([2, 3].map(element)));
  await pause();
  expect(marks()).toEqual([4]);
});

test("less than half of a message does not count, but half a screen of a long one does", async () => {
  const { element, marks, pause } = await kitchen();
  act(() => Sight.show([element(1)], 0.4));
  await pause();
  expect(marks()).toEqual([]);
  act(() => Sight.show([element(1)], 0.3, { height: 4000, screen: 800 }));
  await waitFor(() => expect(marks()).toEqual([1]));
});

test("a hidden page reads nothing until it is seen", async () => {
  const { element, marks, pause } = await kitchen();
  page("hidden");
  act(() => Sight.show([1, 2, 3].map(element)));
  await pause();
  expect(marks()).toEqual([]);
  page("visible");
  await waitFor(() => expect(marks()).toEqual([3]));
});

test("what is scrolled past is not read", async () => {
  const { element, marks } = await kitchen();
  act(() => {
    Sight.show([element(9)]);
    Sight.show([element(9)], 0);
    Sight.show([element(5)]);
  });
  await waitFor(() => expect(marks()).toEqual([5]));
});

test("nothing is observed once the list is gone", async () => {
  const { element, marks, unmount, pause } = await kitchen();
  const last = element(10);
  unmount();
  expect(Sight.observed).toBe(0);
  Sight.show([last]);
  await pause();
  expect(marks()).toEqual([]);
});

test("an element that a virtual list gives to another message counts for that one", async () => {
  const server = await scripted();
  const log = server.addRoom("kitchen");
  for (let n = 1; n <= 10; n += 1) log.append("bob", `b${n}`, `message ${n}`);
  const { client, wrapper } = clientOf(server);
  const release = client.room("kitchen").open();
  await client.connect();
  await live(client.room("kitchen"));
  const { container, rerender } = render(<Row seq={3} />, { wrapper });
  const element = container.querySelector("p") as Element;
  rerender(<Row seq={7} />);
  expect(container.querySelector("p")).toBe(element);
  expect(Sight.observed).toBe(1);
  act(() => Sight.show([element]));
  await waitFor(() => expect(server.framesOf("message:read").map((frame) => frame.seq)).toEqual([7]));
  release();
});

test("the ref of a message is the same in every render, and there is none without a place", async () => {
  const server = await scripted();
  server.addRoom("kitchen");
  const { wrapper } = clientOf(server);
  const { result, rerender } = renderHook(() => useRead("kitchen"), { wrapper });
  const { observe } = result.current;
  const ref = observe(1);
  rerender();
  expect(result.current.observe).toBe(observe);
  expect(result.current.observe(1)).toBe(ref);
  expect(result.current.observe(undefined)).toBeUndefined();
});

test("a list that knows by itself what is in sight says so, and no mark moves back", async () => {
  const server = await scripted();
  const log = server.addRoom("kitchen");
  for (let n = 1; n <= 10; n += 1) log.append("bob", `b${n}`, `message ${n}`);
  const { client, wrapper } = clientOf(server);
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
