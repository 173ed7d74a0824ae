// @vitest-environment jsdom

import { act, render, renderHook, screen, waitFor } from "@testing-library/react";
import { receipts } from "@tidings/client/live";
import { StrictMode } from "react";
import { expect, test } from "vitest";
import { useMessages, useRooms } from "../src/index.js";
import { callInAct, clientOf, live, refusing, startServer, until } from "./support.js";

const contents = (items: readonly { content: string }[]) => items.map((message) => message.content);

/** A list of the messages in the kitchen. Each render reports how many messages it shows. */
function List({ rendered }: { rendered?: (count: number) => void }) {
  const { items } = useMessages("kitchen");
  rendered?.(items.length);
  return <p>{contents(items).join()}</p>;
}

function LastMessageOfHall() {
  return <i>{useRooms().items.find((room) => room.id === "hall")?.lastMessage?.content}</i>;
}

test("a sent message appears in the list at once, and the same row becomes sent and stored", async () => {
  const { network, server } = startServer();
  server.addRoom("kitchen");
  server.say("kitchen", "bob", "first");
  const { client, wrapper } = clientOf(network);
  const { result } = renderHook(() => useMessages("kitchen"), { wrapper });
  void client.connect();
  await waitFor(() => expect(result.current.phase).toBe("live"));
  expect(contents(result.current.items)).toEqual(["first"]);
  server.onSend = "hold";
  const sent = callInAct(() => result.current.send("second"));
  const row = () => result.current.items.find((message) => message.key === sent.key);
  expect(row()).toMatchObject({ status: "sending", content: "second", mine: true, stored: false });
  expect(row()?.seq).toBeUndefined();
  await waitFor(() => expect(server.framesOf("message:send").length).toBe(1));
  server.onSend = "ack";
  network.cut();
  await waitFor(() => expect(row()).toMatchObject({ status: "sent", stored: true, seq: 2 }));
  expect(contents(result.current.items)).toEqual(["first", "second"]);
  const ids = server.framesOf("message:send").map((frame) => frame.client_id);
  expect(new Set(ids)).toEqual(new Set([sent.clientId]));
});

test("a refused message fails with its reason, and a retry sends it with the same client id", async () => {
  const { network, server } = startServer();
  server.addRoom("kitchen");
  const { client, wrapper } = clientOf(network);
  const { result } = renderHook(() => useMessages("kitchen"), { wrapper });
  void client.connect();
  await waitFor(() => expect(result.current.phase).toBe("live"));
  server.onSend = { code: "forbidden" };
  const { key, clientId } = callInAct(() => result.current.send("may I?"));
  const row = () => result.current.items.find((message) => message.key === key);
  await waitFor(() => expect(row()?.status).toBe("failed"));
  expect(row()?.error?.code).toBe("forbidden");
  server.onSend = "ack";
  act(() => result.current.retry(clientId));
  await waitFor(() => expect(row()).toMatchObject({ status: "sent", seq: 1 }));
  expect(server.framesOf("message:send").map((frame) => frame.client_id)).toEqual([clientId, clientId]);
});

test("a discarded message leaves the list", async () => {
  const { network, server } = startServer();
  server.addRoom("kitchen");
  const { client, wrapper } = clientOf(network);
  const { result } = renderHook(() => useMessages("kitchen"), { wrapper });
  void client.connect();
  await waitFor(() => expect(result.current.phase).toBe("live"));
  server.onSend = { code: "forbidden" };
  const { clientId } = callInAct(() => result.current.send("may I?"));
  await waitFor(() => expect(result.current.items[0]?.status).toBe("failed"));
  act(() => result.current.discard(clientId));
  await waitFor(() => expect(result.current.items).toEqual([]));
});

test("loadOlder prepends older messages until there are none", async () => {
  const { network, server } = startServer();
  server.addRoom("kitchen");
  for (let n = 1; n <= 130; n += 1) server.say("kitchen", "bob", `message ${n}`);
  const { client, wrapper } = clientOf(network, { windowSize: 50 });
  const { result } = renderHook(() => useMessages("kitchen"), { wrapper });
  void client.connect();
  await waitFor(() => expect(result.current.phase).toBe("live"));
  expect(result.current.items.at(-1)?.content).toBe("message 130");
  expect(result.current.hasOlder).toBe(true);
  const loaded = result.current.items.length;
  const last = result.current.items.at(-1);
  await act(() => result.current.loadOlder(20));
  expect(result.current.items.length).toBe(loaded + 20);
  expect(result.current.items.at(-1)).toBe(last);
  for (let turn = 0; turn < 10 && result.current.hasOlder; turn += 1) {
    await act(() => result.current.loadOlder(50));
  }
  expect(result.current.items.map((message) => message.seq)).toEqual(
    Array.from({ length: 130 }, (_, n) => n + 1),
  );
  expect(await act(() => result.current.loadOlder())).toBe(false);
});

test("a failed load of older messages sets an error and does not reject", async () => {
  const { network, server } = startServer();
  server.addRoom("kitchen");
  for (let n = 1; n <= 130; n += 1) server.say("kitchen", "bob", `message ${n}`);
  const { client, wrapper } = clientOf(network, { windowSize: 50 });
  const { result } = renderHook(() => useMessages("kitchen"), { wrapper });
  void client.connect();
  await waitFor(() => expect(result.current.phase).toBe("live"));
  server.http = refusing("messages");
  expect(await act(() => result.current.loadOlder())).toBe(false);
  await waitFor(() => expect(result.current.error?.code).toBe("forbidden"));
});

test("a list of messages renders for events of its own room only", async () => {
  const { network, server } = startServer();
  server.addRoom("kitchen");
  server.addRoom("hall");
  const { client, wrapper: Wrapper } = clientOf(network);
  let renders = 0;
  render(
    <Wrapper>
      <List rendered={() => (renders += 1)} />
      <LastMessageOfHall />
    </Wrapper>,
  );
  await client.connect();
  await live(client.room("kitchen"));
  await until(client.rooms, ({ loaded }) => loaded);
  const before = renders;
  act(() => void server.say("hall", "bob", "in the hall"));
  // The room list has rendered, so a render of the message list would have happened by now.
  await screen.findByText("in the hall");
  expect(renders).toBe(before);
  act(() => void server.say("kitchen", "bob", "in the kitchen"));
  await screen.findByText("in the kitchen");
  expect(renders).toBeGreaterThan(before);
});

test("unread counts and receipts of the room do not render its messages", async () => {
  const { network, server } = startServer();
  server.addRoom("kitchen");
  server.say("kitchen", "bob", "first");
  const { client, wrapper } = clientOf(network);
  let renders = 0;
  renderHook(
    () => {
      renders += 1;
      return useMessages("kitchen");
    },
    { wrapper },
  );
  await client.connect();
  const room = client.room("kitchen");
  await live(room);
  const marks = receipts(room);
  await until(client.rooms, ({ loaded }) => loaded);
  await until(room.state, ({ summary }) => summary?.unread === 1);
  const before = renders;
  const at = new Date().toISOString();
  server.push({ type: "receipt:read", room: "kitchen", marks: [{ user: "bob", seq: 1, at }] });
  await until(marks, (all) => all.get("bob")?.readSeq === 1);
  act(() => room.markRead(1));
  await until(room.state, ({ summary }) => summary?.unread === 0);
  await act(async () => {});
  expect(renders).toBe(before);
});

test("the room is open while a list is mounted, also in StrictMode, and closes after the last one", async () => {
  const { network, server } = startServer();
  server.addRoom("kitchen");
  const { client, wrapper: Wrapper } = clientOf(network);
  const page = (lists: number) => (
    <StrictMode>
      <Wrapper>
        {Array.from({ length: lists }, (_, n) => (
          <List key={String(n)} />
        ))}
      </Wrapper>
    </StrictMode>
  );
  const { rerender } = render(page(2));
  const room = client.room("kitchen");
  await client.connect();
  await live(room);
  rerender(page(1));
  await act(async () => {});
  expect(room.state.get().phase).toBe("live");
  rerender(page(0));
  await until(room.state, ({ phase }) => phase === "closed");
});

test("the last list that unmounts drops the older messages", async () => {
  const { network, server } = startServer();
  server.addRoom("kitchen");
  for (let n = 1; n <= 130; n += 1) server.say("kitchen", "bob", `message ${n}`);
  const { client, wrapper } = clientOf(network, { windowSize: 50 });
  const first = renderHook(() => useMessages("kitchen"), { wrapper });
  const second = renderHook(() => useMessages("kitchen"), { wrapper });
  await client.connect();
  const room = client.room("kitchen");
  await live(room);
  await act(() => first.result.current.loadOlder(60));
  const loaded = room.messages.get().items.length;
  expect(loaded).toBeGreaterThan(50);
  first.unmount();
  expect(room.messages.get().items.length).toBe(loaded);
  second.unmount();
  expect(room.messages.get().items.length).toBeLessThanOrEqual(50);
});

test("a new room id shows that room and closes the first one", async () => {
  const { network, server } = startServer();
  server.addRoom("kitchen");
  server.say("kitchen", "bob", "in the kitchen");
  server.addRoom("hall");
  server.say("hall", "bob", "in the hall");
  const { client, wrapper } = clientOf(network);
  const { result, rerender } = renderHook(({ id }) => useMessages(id), {
    wrapper,
    initialProps: { id: "kitchen" },
  });
  await client.connect();
  await waitFor(() => expect(contents(result.current.items)).toEqual(["in the kitchen"]));
  rerender({ id: "hall" });
  expect(contents(result.current.items)).not.toContain("in the kitchen");
  await waitFor(() => expect(contents(result.current.items)).toEqual(["in the hall"]));
  await until(client.room("kitchen").state, ({ phase }) => phase === "closed");
});

test("the hook returns the same object until something changes", async () => {
  const { network, server } = startServer();
  server.addRoom("kitchen");
  const { client, wrapper } = clientOf(network);
  const { result, rerender } = renderHook(() => useMessages("kitchen"), { wrapper });
  await client.connect();
  await waitFor(() => expect(result.current.phase).toBe("live"));
  const before = result.current;
  rerender();
  expect(result.current).toBe(before);
  act(() => void server.say("kitchen", "bob", "hello"));
  await waitFor(() => expect(result.current).not.toBe(before));
  expect(result.current.send).toBe(before.send);
});
