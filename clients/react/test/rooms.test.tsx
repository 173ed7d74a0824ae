// @vitest-environment jsdom

import { act, render, renderHook, screen, waitFor } from "@testing-library/react";
import type { RoomSummary } from "@tidings/client";
import { memo } from "react";
import { expect, test } from "vitest";
import { useMembers, useOutbox, useReceipts, useRoom, useRooms } from "../src/index.js";
import { callInAct, clientOf, live, refusing, startServer, until } from "./support.js";

type Rendered = (id: string) => void;

const Row = memo(function Row({ room, rendered }: { room: RoomSummary; rendered: Rendered }) {
  rendered(room.id);
  return <li>{room.lastMessage?.content}</li>;
});

function List({ rendered }: { rendered: Rendered }) {
  return useRooms().items.map((room) => <Row key={room.id} room={room} rendered={rendered} />);
}

test("rooms are loaded after connecting, and a message moves its room to the top", async () => {
  const { network, server } = startServer();
  server.addRoom("kitchen");
  server.say("kitchen", "bob", "tea?");
  server.addRoom("hall");
  const { client, wrapper } = clientOf(network);
  const { result } = renderHook(() => useRooms(), { wrapper });
  expect(result.current).toMatchObject({ loaded: false, items: [] });
  await client.connect();
  await waitFor(() => expect(result.current.loaded).toBe(true));
  expect(result.current.items.find((room) => room.id === "kitchen")).toMatchObject({
    name: "kitchen",
    unread: 1,
  });
  act(() => void server.say("hall", "bob", "anybody there?"));
  await waitFor(() => expect(result.current.items[0]?.lastMessage?.content).toBe("anybody there?"));
  expect(result.current.items[0]).toMatchObject({ id: "hall", unread: 1 });
});

test("unread mentions are counted live and end when they are read, and the notification level is shown", async () => {
  const { network, server } = startServer();
  server.addRoom("kitchen").notify.set("alice", "mentions");
  const { client, wrapper } = clientOf(network);
  const { result } = renderHook(() => useRooms(), { wrapper });
  await client.connect();
  await waitFor(() =>
    expect(result.current.items).toMatchObject([{ unreadMentions: 0, notify: "mentions" }]),
  );
  act(() => void server.say("kitchen", "bob", "tea?", ["alice"]));
  await waitFor(() => expect(result.current.items).toMatchObject([{ unread: 1, unreadMentions: 1 }]));
  act(() => void client.room("kitchen").markRead(1));
  await waitFor(() => expect(result.current.items).toMatchObject([{ unread: 0, unreadMentions: 0 }]));
});

test("a mention in a room beyond the first page adds its row with the badge", async () => {
  const { network, server } = startServer();
  for (let number = 100; number <= 300; number++) server.addRoom(`room${number}`);
  const { client, wrapper } = clientOf(network);
  const { result } = renderHook(() => useRooms(), { wrapper });
  await client.connect();
  await waitFor(() => expect(result.current.items).toHaveLength(200));
  act(() => void server.say("room300", "bob", "tea?", ["alice"]));
  await waitFor(() => expect(result.current.items[0]).toMatchObject({ id: "room300", unreadMentions: 1 }));
});

test("a memoised row renders for events of its own room only", async () => {
  const { network, server } = startServer();
  server.addRoom("kitchen");
  server.addRoom("hall");
  const { client, wrapper } = clientOf(network);
  const renders = new Map<string, number>();
  const rendered = (id: string) => void renders.set(id, (renders.get(id) ?? 0) + 1);
  render(<List rendered={rendered} />, { wrapper });
  await client.connect();
  await until(client.rooms, ({ loaded }) => loaded);
  await waitFor(() => expect(renders.size).toBe(2));
  await act(async () => {});
  const before = new Map(renders);
  act(() => void server.say("hall", "bob", "hello"));
  await screen.findByText("hello");
  expect(renders.get("kitchen")).toBe(before.get("kitchen"));
  expect(renders.get("hall")).toBeGreaterThan(before.get("hall") ?? 0);
});

test("a failed reload sets an error and does not reject, and the next reload clears the error", async () => {
  const { network, server } = startServer();
  server.addRoom("kitchen");
  const { client, wrapper } = clientOf(network);
  const { result } = renderHook(() => useRooms(), { wrapper });
  await client.connect();
  await waitFor(() => expect(result.current.loaded).toBe(true));
  server.http = refusing("rooms");
  await act(() => result.current.reload());
  await waitFor(() => expect(result.current.error?.code).toBe("forbidden"));
  server.http = undefined;
  await act(() => result.current.reload());
  await waitFor(() => expect(result.current.error).toBeUndefined());
});

test("the summary of a room follows a new name, and useRoom does not open the room", async () => {
  const { network, server } = startServer();
  server.addRoom("kitchen");
  const { client, wrapper } = clientOf(network);
  const { result } = renderHook(() => useRoom("kitchen"), { wrapper });
  await client.connect();
  await waitFor(() => expect(result.current.summary?.name).toBe("kitchen"));
  expect(result.current.phase).toBe("closed");
  server.rename("kitchen", "Tea kitchen");
  await waitFor(() => expect(result.current.summary?.name).toBe("Tea kitchen"));
});

test("receipts change when other members read", async () => {
  const { network, server } = startServer();
  server.addRoom("kitchen");
  server.say("kitchen", "alice", "hello");
  const { client, wrapper } = clientOf(network);
  const { result } = renderHook(() => useReceipts("kitchen"), { wrapper });
  const release = client.room("kitchen").open();
  await client.connect();
  await live(client.room("kitchen"));
  const at = new Date().toISOString();
  server.push({ type: "receipt:delivered", room: "kitchen", marks: [{ user: "bob", seq: 1, at }] });
  await waitFor(() => expect(result.current.get("bob")).toMatchObject({ deliveredSeq: 1, readSeq: 0 }));
  server.push({ type: "receipt:read", room: "kitchen", marks: [{ user: "bob", seq: 1, at }] });
  await waitFor(() => expect(result.current.get("bob")).toMatchObject({ deliveredSeq: 1, readSeq: 1 }));
  release();
});

test("members are loaded after mounting, and a new member is added", async () => {
  const { network, server } = startServer();
  server.addRoom("kitchen", ["bob"]);
  const { client, wrapper } = clientOf(network);
  const { result } = renderHook(() => useMembers("kitchen"), { wrapper });
  expect(result.current.items).toBeUndefined();
  const release = client.room("kitchen").open();
  await client.connect();
  await waitFor(() => expect(result.current.items?.map(({ user }) => user)).toEqual(["alice", "bob"]));
  await live(client.room("kitchen"));
  server.addMember("kitchen", "carol");
  await waitFor(() => expect(result.current.items?.map(({ user }) => user)).toContain("carol"));
  release();
});

test("members of a large room are loaded by page, and only by a hook that wants them", async () => {
  const { network, server } = startServer();
  const others = Array.from({ length: 299 }, (_, n) => `user-${n + 100}`);
  server.addRoom("kitchen", others);
  const { client, wrapper } = clientOf(network);
  const watching = renderHook(() => useMembers("kitchen", { load: false }), { wrapper });
  await client.connect();
  const requests = () => server.requests.filter((request) => request.includes("/members")).length;
  expect([watching.result.current.items, requests()]).toEqual([undefined, 0]);
  const { result } = renderHook(() => useMembers("kitchen"), { wrapper });
  await waitFor(() => expect(result.current.items?.length).toBe(200));
  expect([result.current.hasMore, watching.result.current.items?.length]).toEqual([true, 200]);
  await act(() => result.current.loadMore());
  await waitFor(() => expect(result.current.items?.length).toBe(300));
  expect([result.current.hasMore, requests()]).toEqual([false, 2]);
});

test("a failed load of members sets an error until a reload succeeds", async () => {
  const { network, server } = startServer();
  server.addRoom("kitchen", ["bob"]);
  server.http = refusing("members");
  const { client, wrapper } = clientOf(network);
  const { result } = renderHook(() => useMembers("kitchen"), { wrapper });
  await client.connect();
  await waitFor(() => expect(result.current.error?.code).toBe("forbidden"));
  expect(result.current.items).toBeUndefined();
  server.http = undefined;
  await act(() => result.current.reload());
  await waitFor(() => expect(result.current.items?.length).toBe(2));
  expect(result.current.error).toBeUndefined();
});

test("the outbox shows the waiting messages of every room, and discard removes an entry", async () => {
  const { network, server } = startServer();
  server.addRoom("kitchen");
  const { client, wrapper } = clientOf(network);
  const { result } = renderHook(() => useOutbox(), { wrapper });
  const { clientId } = callInAct(() => client.room("kitchen").send("later"));
  await waitFor(() => expect(result.current.items.map(({ content }) => content)).toEqual(["later"]));
  act(() => result.current.discard(clientId));
  await waitFor(() => expect(result.current.items).toEqual([]));
});

test("retryAll sends a failed entry again", async () => {
  const { network, server } = startServer();
  server.addRoom("kitchen");
  server.onSend = { code: "forbidden" };
  const { client, wrapper } = clientOf(network);
  const { result } = renderHook(() => useOutbox(), { wrapper });
  await client.connect();
  act(() => void client.room("kitchen").send("may I?"));
  await waitFor(() => expect(result.current.items[0]?.status).toBe("failed"));
  server.onSend = "ack";
  act(() => result.current.retryAll());
  await waitFor(() => expect(result.current.items).toEqual([]));
  expect(server.framesOf("message:send").length).toBe(2);
});

test("the functions of useRooms and useOutbox stay the same when the lists change", async () => {
  const { network, server } = startServer();
  server.addRoom("kitchen");
  const { client, wrapper } = clientOf(network);
  const { result } = renderHook(() => ({ rooms: useRooms(), outbox: useOutbox() }), { wrapper });
  const first = result.current;
  await client.connect();
  await waitFor(() => expect(result.current.rooms.loaded).toBe(true));
  server.onSend = { code: "forbidden" };
  act(() => void client.room("kitchen").send("may I?"));
  await waitFor(() => expect(result.current.outbox.items[0]?.status).toBe("failed"));
  act(() => void server.say("kitchen", "bob", "no"));
  await waitFor(() => expect(result.current.rooms.items[0]?.lastMessage?.content).toBe("no"));
  const { rooms, outbox } = result.current;
  expect(rooms.items).not.toBe(first.rooms.items);
  expect(outbox.items).not.toBe(first.outbox.items);
  expect(rooms.more).toBe(first.rooms.more);
  expect(rooms.reload).toBe(first.rooms.reload);
  expect(outbox.retry).toBe(first.outbox.retry);
  expect(outbox.retryAll).toBe(first.outbox.retryAll);
  expect(outbox.discard).toBe(first.outbox.discard);
});
