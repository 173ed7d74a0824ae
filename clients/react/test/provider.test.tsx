// @vitest-environment jsdom

import { render, renderHook, screen, waitFor } from "@testing-library/react";
import type { TidingsClientLike } from "@tidings/client";
import { Activity, StrictMode } from "react";
import { expect, test } from "vitest";
import { TidingsProvider, useConnection, useMe, useTidings } from "../src/index.js";
import { clientOf, optionsFor, startServer, until } from "./support.js";

function State() {
  return <p>{useConnection().state}</p>;
}

function ClientProbe({ onClient }: { onClient: (client: TidingsClientLike) => void }) {
  onClient(useTidings());
  return <State />;
}

test("in StrictMode the provider keeps one client, connects once, and closes when it unmounts", async () => {
  const { network } = startServer();
  const seen = new Set<TidingsClientLike>();
  const { unmount } = render(
    <StrictMode>
      <TidingsProvider options={optionsFor(network)}>
        <ClientProbe onClient={(client) => seen.add(client)} />
      </TidingsProvider>
    </StrictMode>,
  );
  await screen.findByText("connected");
  expect(network.attempts).toBe(1);
  expect(network.connections).toBe(1);
  expect(seen.size).toBe(1);
  unmount();
  await waitFor(() => expect(network.connections).toBe(0));
  expect(network.attempts).toBe(1);
});

test("a render with new options keeps the client, which calls the latest token function", async () => {
  const { network } = startServer();
  const seen = new Set<TidingsClientLike>();
  const asked: string[] = [];
  const page = (name: string) => (
    <TidingsProvider
      options={optionsFor(network, {
        token: () => {
          asked.push(name);
          return name;
        },
      })}
    >
      <ClientProbe onClient={(client) => seen.add(client)} />
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
  const { network } = startServer();
  const seen = new Set<TidingsClientLike>();
  const page = (user: string) => (
    <TidingsProvider key={user} options={optionsFor(network)}>
      <ClientProbe onClient={(client) => seen.add(client)} />
    </TidingsProvider>
  );
  const { rerender } = render(page("alice"));
  await screen.findByText("connected");
  rerender(page("bob"));
  await waitFor(() => expect(network.attempts).toBe(2));
  await waitFor(() => expect(network.connections).toBe(1));
  expect(seen.size).toBe(2);
});

test("a tree that is hidden and shown again reconnects with the same client", async () => {
  const { network } = startServer();
  const seen = new Set<TidingsClientLike>();
  const page = (mode: "visible" | "hidden") => (
    <Activity mode={mode}>
      <TidingsProvider options={optionsFor(network)}>
        <ClientProbe onClient={(client) => seen.add(client)} />
      </TidingsProvider>
    </Activity>
  );
  const { rerender } = render(page("visible"));
  await screen.findByText("connected");
  rerender(page("hidden"));
  await waitFor(() => expect(network.connections).toBe(0));
  rerender(page("visible"));
  await screen.findByText("connected");
  expect(network.connections).toBe(1);
  expect(seen.size).toBe(1);
});

test("the provider neither connects nor closes a client that it gets as a prop", async () => {
  const { network } = startServer();
  const { client, wrapper } = clientOf(network);
  const { unmount } = renderHook(() => useConnection(), { wrapper });
  await new Promise((done) => setTimeout(done, 200));
  expect(network.attempts).toBe(0);
  await client.connect();
  unmount();
  await new Promise((done) => setTimeout(done, 200));
  expect(client.connection.get().state).toBe("connected");
});

test("useMe returns the user once the client is connected", async () => {
  const { network } = startServer();
  const { client, wrapper } = clientOf(network);
  const { result } = renderHook(() => useMe(), { wrapper });
  expect(result.current).toBeUndefined();
  void client.connect();
  await until(client.me, (me) => me !== undefined);
  await waitFor(() => expect(result.current?.id).toBe("alice"));
});

test("a hook without a provider throws an error that names the provider", () => {
  expect(() => renderHook(() => useConnection())).toThrow(/TidingsProvider/);
});
