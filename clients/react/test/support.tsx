import { act, cleanup, configure } from "@testing-library/react";
import { type ClientOptions, type Room, type Store, TidingsClient } from "@tidings/client";
import type { ReactNode } from "react";
import { afterEach } from "vitest";
import WebSocket from "ws";
import { TidingsProvider } from "../src/index.js";
import { ScriptedServer } from "./server/server.js";

// A reconnect may take a second, and a busy machine several.
configure({ asyncUtilTimeout: 10_000 });

const ends: (() => unknown)[] = [];

afterEach(async () => {
  cleanup();
  for (const end of ends.splice(0).reverse()) await end();
});

/** A server that is gone after the test. */
export async function scripted(): Promise<ScriptedServer> {
  const server = await ScriptedServer.start();
  ends.push(() => server.close());
  return server;
}

/** Options of a client of that server. */
export function optionsFor(server: ScriptedServer, more: Partial<ClientOptions> = {}): ClientOptions {
  return { url: server.url, token: () => "token", transport: "websocket", WebSocket, ...more };
}

/** A client of that server, closed after the test, with what puts it above a component. */
export function clientOf(server: ScriptedServer, more: Partial<ClientOptions> = {}) {
  const client = new TidingsClient(optionsFor(server, more));
  ends.push(() => client.close());
  const wrapper = ({ children }: { children: ReactNode }) => (
    <TidingsProvider client={client}>{children}</TidingsProvider>
  );
  return { client, wrapper };
}

/** Resolves once the store's value is as wanted; the test's own timeout ends a wait for ever. */
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

/** Resolves once the room has everything. */
export function live(room: Room): Promise<void> {
  return until(room.state, ({ phase }) => phase === "live");
}

/** What `run` answers, with all that it made React do done. */
export function acted<T>(run: () => T): T {
  let answer: { value: T } | undefined;
  act(() => {
    answer = { value: run() };
  });
  if (answer === undefined) throw new Error("act did not run");
  return answer.value;
}
