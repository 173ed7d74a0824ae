// @vitest-environment jsdom

import { render, renderHook, screen, waitFor } from "@testing-library/react";
import type { TidingsClient } from "@tidings/client";
import { Activity, StrictMode } from "react";
import { expect, test } from "vitest";
import { TidingsProvider, useConnection, useMe, useTidings } from "../src/index.js";
import { clientOf, optionsFor, startServer, until } from "./support.js";

function State() {
  return <p>{useConnection().state}</p>;
}

function Seen({ onClient }: { onClient: (client: TidingsClient) => void }) {
  onClient(useTidings());
  return <State />;
}

test("in StrictMode the provider keeps one client, connects once, and closes when it unmounts", async () => {
  const server = await startServer();
  const seen = new Set<TidingsClient>();
  const { unmount } = render(
    <StrictMode>
      <TidingsProvider options={optionsFor(server)}>
        <Seen onClient={(client) => seen.add(client)} />
      </TidingsProvider>
    </StrictMode>,
  );
  await screen.findByText("connected");
  expect(server.accepted).toBe(1);
  expect(server.open).toBe(1);
  expect(seen.size).toBe(1);
  unmount();
  await waitFor(() => expect(server.open).toBe(0));
  expect(server.accepted).toBe(1);
});

test("a render with new options keeps the client, which calls the latest token function", async () => {
  const server = await startServer();
  const seen = new Set<TidingsClient>();
  const asked: string[] = [];
  const page = (name: string) => (
    <TidingsProvider
      options={optionsFor(server, {
        token: () => {
          asked.push(name);
          return name;
        },
      })}
    >
      <Seen onClient={(client) => seen.add(client)} />
    </TidingsProvider>
  );
  const { rerender } = render(page("first"));
  await screen.findByText("connected");
  rerender(page("second"));
  const [client] = seen;
  client?.disconnect();
  await screen.findByText("disconnected");
  await client?.connect();
  expect(seen.size).toBe(1);
  expect(asked[0]).toBe("first");
  expect(asked.at(-1)).toBe("second");
});

test("another key creates another client and closes the first one", async () => {
  const server = await startServer();
  const seen = new Set<TidingsClient>();
  const page = (user: string) => (
    <TidingsProvider key={user} options={optionsFor(server)}>
      <Seen onClient={(client) => seen.add(client)} />
    </TidingsProvider>
  );
  const { rerender } = render(page("alice"));
  await screen.findByText("connected");
  rerender(page("bob"));
  await waitFor(() => expect(server.accepted).toBe(2));
  await waitFor(() => expect(server.open).toBe(1));
  expect(seen.size).toBe(2);
});

test("a tree that is hidden and shown again reconnects with the same client", async () => {
  const server = await startServer();
  const seen = new Set<TidingsClient>();
  const page = (mode: "visible" | "hidden") => (
    <Activity mode={mode}>
      <TidingsProvider options={optionsFor(server)}>
        <Seen onClient={(client) => seen.add(client)} />
      </TidingsProvider>
    </Activity>
  );
  const { rerender } = render(page("visible"));
  await screen.findByText("connected");
  rerender(page("hidden"));
  await waitFor(() => expect(server.open).toBe(0));
  rerender(page("visible"));
  await screen.findByText("connected");
  expect(server.open).toBe(1);
  expect(seen.size).toBe(1);
});

test("the provider neither connects nor closes a client that it gets as a prop", async () => {
  const server = await startServer();
  const { client, wrapper } = clientOf(server);
  const { unmount } = renderHook(() => useConnection(), { wrapper });
  await new Promise((done) => setTimeout(done, 200));
  expect(server.accepted).toBe(0);
  await client.connect();
  unmount();
  await new Promise((done) => setTimeout(done, 200));
  expect(client.connection.get().state).toBe("connected");
});

test("useMe returns the user once the client is connected", async () => {
  const server = await startServer();
  const { client, wrapper } = clientOf(server);
  const { result } = renderHook(() => useMe(), { wrapper });
  expect(result.current).toBeUndefined();
  void client.connect();
  await until(client.me, (me) => me !== undefined);
  await waitFor(() => expect(result.current?.id).toBe("alice"));
});

test("a hook without a provider throws an error that names the provider", () => {
  expect(() => renderHook(() => useConnection())).toThrow(/TidingsProvider/);
});
