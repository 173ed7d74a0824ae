// @vitest-environment jsdom
import { renderHook, waitFor } from "@testing-library/react";
import { expect, test } from "vitest";
import { usePresence } from "../src/index.js";
import { clientOf, startServer } from "./support.js";

test("the hook asks for the presence of a user and follows its changes", async () => {
  const { network, server } = startServer();
  server.presence.set("bob", "away");
  const { client, wrapper } = clientOf(network);
  const { result } = renderHook(() => usePresence("bob"), { wrapper });
  expect(result.current).toBeUndefined();
  await client.connect();
  await waitFor(() => expect(result.current?.status).toBe("away"));
  server.push({ type: "presence", user: "bob", status: "online", last_seen: null });
  await waitFor(() => expect(result.current).toEqual({ status: "online", lastSeen: null }));
});

test("the hook asks for several users once, although each render passes a new array", async () => {
  const { network, server } = startServer();
  server.presence.set("bob", "online");
  server.presence.set("carol", "away");
  const { client, wrapper } = clientOf(network);
  const { result, rerender } = renderHook(({ users }) => usePresence(users), {
    wrapper,
    initialProps: { users: ["bob", "carol"] },
  });
  await client.connect();
  await waitFor(() => expect(result.current.get("carol")?.status).toBe("away"));
  expect(result.current.get("bob")?.status).toBe("online");
  const asked = server.framesOf("presence:get").length;
  const before = result.current;
  rerender({ users: ["carol", "bob"] });
  expect(result.current).toBe(before);
  await client.request({ type: "ping" });
  expect(server.framesOf("presence:get").length).toBe(asked);
  server.presence.set("dave", "online");
  rerender({ users: ["bob", "dave"] });
  await waitFor(() => expect(result.current.get("dave")?.status).toBe("online"));
  expect(result.current.has("carol")).toBe(false);
});

test("the client does not ask for an unwatched user after a reconnect", async () => {
  const { network, server } = startServer();
  const { client, wrapper } = clientOf(network);
  const bob = renderHook(() => usePresence("bob"), { wrapper });
  renderHook(() => usePresence("carol"), { wrapper });
  await client.connect();
  await waitFor(() => expect(bob.result.current?.status).toBe("offline"));
  bob.unmount();
  const asked = server.framesOf("presence:get").length;
  network.cut();
  await waitFor(() => expect(server.framesOf("presence:get").length).toBeGreaterThan(asked), {
    timeout: 15_000,
  });
  const users = server
    .framesOf("presence:get")
    .slice(asked)
    .flatMap((frame) => frame.users as string[]);
  expect(users).toContain("carol");
  expect(users).not.toContain("bob");
});
