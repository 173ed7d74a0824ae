// @vitest-environment jsdom
import { act, renderHook, waitFor } from "@testing-library/react";
import { memoryStorage } from "@tidings/client/storage";
import { expect, test } from "vitest";
import { useDraft, useMessages } from "../src/index.js";
import { callInAct, clientOf, refusing, startServer } from "./support.js";

test("a list starts at the first unread message, reads on, and returns to the newest one", async () => {
  const { network, server } = startServer();
  const kitchen = server.addRoom("kitchen");
  for (let seq = 1; seq <= 300; seq++) server.say("kitchen", "bob", `${seq}`);
  kitchen.read.set("alice", 100);
  const { client, wrapper } = clientOf(network);
  await act(() => client.connect());
  await waitFor(() => expect(client.rooms.get().loaded).toBe(true));
  const { result } = renderHook(() => useMessages("kitchen", { at: "unread" }), { wrapper });
  await waitFor(() => expect(result.current.phase).toBe("live"));
  const seqs = () => result.current.items.map(({ seq }) => seq);
  expect(seqs()).toContain(101);
  expect(result.current).toMatchObject({ hasOlder: true, hasNewer: true, loadingNewer: false });
  const before = seqs().at(-1) ?? 0;
  await act(() => result.current.loadNewer(20));
  expect(seqs().at(-1)).toBe(before + 20);
  await act(() => result.current.jumpToLatest());
  expect(seqs().at(-1)).toBe(300);
  expect(result.current.hasNewer).toBe(false);
  server.http = refusing("messages");
  await act(async () => expect(await result.current.jumpTo(7)).toBe(false));
});

test("a second list of a room does not move the first one", async () => {
  const { network, server } = startServer();
  const kitchen = server.addRoom("kitchen");
  for (let seq = 1; seq <= 300; seq++) server.say("kitchen", "bob", `${seq}`);
  kitchen.read.set("alice", 100);
  const { client, wrapper } = clientOf(network);
  await act(() => client.connect());
  await waitFor(() => expect(client.rooms.get().loaded).toBe(true));
  const first = renderHook(() => useMessages("kitchen", { at: "unread" }), { wrapper });
  await waitFor(() => expect(first.result.current.phase).toBe("live"));
  const second = renderHook(() => useMessages("kitchen"), { wrapper });
  await act(() => new Promise((wait) => setTimeout(wait, 100)));
  expect(first.result.current.items.map(({ seq }) => seq)).toContain(101);
  expect(second.result.current.items).toBe(first.result.current.items);
});

test("a draft is the same in all components, and sending clears it", async () => {
  const { network, server } = startServer();
  server.addRoom("kitchen");
  const { client, wrapper } = clientOf(network, { storage: memoryStorage() });
  await act(() => client.connect());
  const input = renderHook(() => useDraft("kitchen"), { wrapper });
  const item = renderHook(() => useDraft("kitchen").content, { wrapper });
  const { set, send } = input.result.current;
  callInAct(() => set({ content: "hello", visibleTo: { users: ["bob"], roles: [] } }));
  expect(item.result.current).toBe("hello");
  expect(input.result.current).toMatchObject({ audienceChosen: true, set, send });
  callInAct(() => send());
  expect(item.result.current).toBe("");
  await waitFor(() =>
    expect(server.framesOf("message:send")).toEqual([
      expect.objectContaining({ content: "hello", visible_to: { users: ["bob"], roles: [] } }),
    ]),
  );
});
