import { act, cleanup, configure } from "@testing-library/react";
import { browserLifecycle, type ClientOptions, type Room, type Store, TidingsClient } from "@tidings/client";
import { type ScriptedServer, TestNetwork } from "@tidings/client/testing";
import type { ReactNode } from "react";
import { afterEach } from "vitest";
import { TidingsProvider } from "../src/index.js";

// A reconnect may take a second, or several on a busy machine.
configure({ asyncUtilTimeout: 10_000 });

/** Longer than the delay of the test network in both directions, in milliseconds. */
const ANSWER_MS = 30;

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  cleanup();
  for (const end of cleanups.splice(0).reverse()) await end();
  // Answers on their way reach the hooks while the page still exists.
  await new Promise((done) => setTimeout(done, ANSWER_MS));
});

/** A server that uses the real time, because the tests wait for changes of a page. */
export function startServer(): { network: TestNetwork; server: ScriptedServer } {
  const network = new TestNetwork({ realTime: true });
  return { network, server: network.server };
}

/** Options for a client of that server, with the lifecycle of the page. */
export function optionsFor(network: TestNetwork, more: Partial<ClientOptions> = {}): ClientOptions {
  return network.options({ transport: "websocket", lifecycle: browserLifecycle(), ...more });
}

/** Refuses the requests for `messages` or `members` of a room, or for the user's `rooms`. */
export function refusing(what: string): ScriptedServer["http"] {
  return (_method, path) =>
    path.endsWith(`/${what}`) ? { status: 403, body: { code: "forbidden" } } : undefined;
}

/** A client of that server, which is closed after the test, and a wrapper that provides it to components. */
export function clientOf(network: TestNetwork, more: Partial<ClientOptions> = {}) {
  const client = new TidingsClient(optionsFor(network, more));
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
