import { act, cleanup, configure } from "@testing-library/react";
import { type ClientOptions, type Room, type Store, TidingsClient } from "@tidings/client";
import type { ReactNode } from "react";
import { afterEach } from "vitest";
import WebSocket from "ws";
import { TidingsProvider } from "../src/index.js";
import { ScriptedServer } from "./server/server.js";

// A reconnect may take a second, or several on a busy machine.
configure({ asyncUtilTimeout: 10_000 });

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  cleanup();
  for (const end of cleanups.splice(0).reverse()) await end();
});

/** Starts a server, which is closed after the test. */
export async function startServer(): Promise<ScriptedServer> {
  const server = await ScriptedServer.start();
  cleanups.push(() => server.close());
  return server;
}

/** Options for a client of that server. */
export function optionsFor(server: ScriptedServer, more: Partial<ClientOptions> = {}): ClientOptions {
  return { url: server.url, token: () => "token", transport: "websocket", WebSocket, ...more };
}

/** A client of that server, which is closed after the test, and a wrapper that provides it to components. */
export function clientOf(server: ScriptedServer, more: Partial<ClientOptions> = {}) {
  const client = new TidingsClient(optionsFor(server, more));
  cleanups.push(() => client.close());
  const wrapper = ({ children }: { children: ReactNode }) => (
    <TidingsProvider client={client}>{children}</TidingsProvider>
  );
  return { client, wrapper };
}

/** Resolves once the value of the store satisfies the condition. The timeout of the test limits the wait. */
export function until<T>(store: Store<T>, wanted: (value: T) => boolean): Promise<void> {
  return new Promise((done) => {
    const look = () => {
      if (!wanted(store.get())) return;
      stop();
      done();
    };
    const stop = store.subscribe(look);
    look();
  });
}

/** Resolves once the room is live. */
export function live(room: Room): Promise<void> {
  return until(room.state, ({ phase }) => phase === "live");
}

/** Calls `run` in `act` and returns its result. */
export function callInAct<T>(run: () => T): T {
  let result: { value: T } | undefined;
  act(() => {
    result = { value: run() };
  });
  if (result === undefined) throw new Error("act did not run");
  return result.value;
}
