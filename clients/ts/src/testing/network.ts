/** A network between clients and one scripted server, in memory. */
import { TidingsClient } from "../client.js";
import type { TidingsError } from "../errors.js";
import * as polls from "../polls.js";
import { systemTimers } from "../timers.js";
import type { ClientOptions, Timers } from "../types.js";
import { TestClock } from "./clock.js";
import { type Json, ScriptedServer } from "./server.js";
import { FakeSocket } from "./socket.js";

/** How often a poll looks for events when the network uses the real time. */
const REAL_POLL_PAUSE_MS = 20;

/** The options of a network. */
export interface TestNetworkOptions {
  /** The rooms that the server has from the start. `ScriptedServer.addRoom` adds others. */
  readonly rooms?: readonly string[];
  /** Uses the clock of the platform instead of `clock`, for tests that wait for a change of a page. */
  readonly realTime?: boolean;
}

/** The options of a client in a test: any option of the kit, and the `user`, by default `alice`. */
export type TestClientOptions = Partial<ClientOptions> & { readonly user?: string };

/** A network with a delay between clients and one server. Tests can cut it. */
export class TestNetwork {
  /** The clock of the network and its clients, unless the network uses the real time. */
  readonly clock = new TestClock();
  readonly server: ScriptedServer;
  /** While true, no byte passes in either direction. */
  down = false;
  /** While true, no WebSocket opens, but HTTP works. */
  noWebSocket = false;
  /** The delay of one direction in milliseconds. */
  delay = 5;
  /** The number of WebSockets that clients tried to open. */
  attempts = 0;
  /** The open sockets. @internal */
  readonly sockets = new Set<FakeSocket>();
  /** The errors that the clients reported. */
  readonly errors: TidingsError[] = [];
  /** The timers of the network and its clients. @internal */
  readonly timers: Timers;

  constructor({ rooms, realTime = false }: TestNetworkOptions = {}) {
    this.timers = realTime ? systemTimers : this.clock;
    this.server = new ScriptedServer(rooms);
    this.server.now = this.timers.now;
  }

  /** The number of open WebSockets. */
  get connections(): number {
    return this.sockets.size;
  }

  /** Makes a client. It connects when `connect()` is called. */
  client(options: TestClientOptions = {}): TidingsClient {
    return new TidingsClient(this.options(options));
  }

  /** The options of a client, for code that makes the client itself. */
  options({ user = "alice", ...more }: TestClientOptions = {}): ClientOptions {
    const network = this;
    class Socket extends FakeSocket {
      constructor() {
        super(network);
      }
    }
    return {
      url: "http://test",
      token: () => `${user}.1`,
      WebSocket: Socket as never,
      fetch: this.fetch,
      timers: this.timers,
      random: () => 0.5,
      lifecycle: { online: () => true, subscribe: () => () => {} },
      onError: (error) => this.errors.push(error),
      // Given directly, because loading the module would take real time.
      polls: () => polls,
      ...more,
    };
  }

  /** The `fetch` of the clients. @internal */
  readonly fetch = (async (url: string, init: RequestInit = {}) => {
    const { server, timers } = this;
    const signal = init.signal as AbortSignal | undefined;
    const way = () =>
      new Promise<void>((resolve, reject) => {
        const aborted = () => reject(new Error("aborted"));
        signal?.addEventListener("abort", aborted);
        timers.setTimeout(() => {
          signal?.removeEventListener("abort", aborted);
          resolve();
        }, this.delay);
      });
    if (signal?.aborted) throw new Error("aborted");
    await way();
    if (this.down) throw new TypeError("fetch failed");
    const body = init.body ? (JSON.parse(init.body as string) as Json) : undefined;
    const token = ((init.headers as Json | undefined)?.authorization as string | undefined)?.replace(
      "Bearer ",
      "",
    );
    let answer = await server.request(init.method ?? "GET", url, token ?? "", body);
    // A poll without events or answers waits.
    const wait = (body?.timeout_ms as number | undefined) ?? 0;
    const until = timers.now() + wait;
    while (url.endsWith("/poll") && answer.status < 300 && timers.now() < until && idle(answer.body)) {
      await this.#change(until);
      if (signal?.aborted) throw new Error("aborted");
      if (this.down) throw new TypeError("fetch failed");
      answer = await server.request("POST", url, token ?? "", { ...body, commands: [] });
    }
    await way();
    if (this.down) throw new TypeError("fetch failed");
    const { status } = answer;
    return {
      ok: status < 300,
      status,
      headers: new Headers(),
      text: async () => (answer.body ? JSON.stringify(answer.body) : ""),
    };
  }) as unknown as typeof fetch;

  /** Waits until the answer to a poll may have changed. */
  #change(until: number): Promise<void> {
    if (this.timers === this.clock) return this.clock.change(until);
    return new Promise((resolve) => void this.timers.setTimeout(resolve, REAL_POLL_PAUSE_MS));
  }

  /** Cuts every connection without a close frame. */
  cut(code = 1006): void {
    for (const socket of [...this.sockets]) socket.closeNow(code);
  }
}

const idle = (body: Json | undefined) =>
  !(body?.events as unknown[])?.length && !(body?.answers as unknown[])?.length;
