import type { ClientOptions, StorageAdapter, Timers } from "../../src/index.js";
import { TidingsClient, type TidingsError } from "../../src/index.js";
import * as polls from "../../src/polls.js";
import { customStorage, memoryStorage } from "../../src/storage.js";
import { type Json, Model, type Session } from "./model.js";

/** A clock that only moves when a test moves it. */
export class Clock implements Timers {
  #now = 1_700_000_000_000;
  #count = 0;
  readonly #timers = new Map<number, { at: number; run: () => void }>();
  readonly #watchers = new Set<() => void>();

  now = (): number => this.#now;

  setTimeout(run: () => void, ms: number): unknown {
    this.#timers.set(++this.#count, { at: this.#now + Math.max(0, ms), run });
    return this.#count;
  }

  clearTimeout(handle: unknown): void {
    this.#timers.delete(handle as number);
  }

  get pending(): number {
    return this.#timers.size;
  }

  /** Moves the time without running timers, as a device that slept. */
  jump(ms: number): void {
    this.#now += ms;
  }

  /**
   * Resolves after the next timer has run, after the next step of the test, or at the given time. A wait for
   * a change uses it instead of a timer that runs every few milliseconds.
   */
  change(end: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.#watchers.delete(done);
        this.clearTimeout(timeout);
        resolve();
      };
      const timeout = this.setTimeout(done, end - this.#now);
      this.#watchers.add(done);
    });
  }

  /** Moves the time and runs the due timers one by one. */
  async pass(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      await settle();
      if (this.#watchers.size > 0) {
        for (const watcher of [...this.#watchers]) watcher();
        await settle();
      }
      const due = [...this.#timers].sort(([a, x], [b, y]) => x.at - y.at || a - b)[0];
      if (!due || due[1].at > end) break;
      this.#timers.delete(due[0]);
      this.#now = Math.max(this.#now, due[1].at);
      due[1].run();
    }
    this.#now = Math.max(this.#now, end);
    await settle();
  }
}

/** Waits until all work that needs no timer is done. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 6; i++) await new Promise<void>((resolve) => setImmediate(resolve));
}

/** The options of a client for a user; the storage may be any adapter. */
export type Options = Partial<Omit<ClientOptions, "storage">> & {
  user?: string;
  storage?: StorageAdapter | undefined;
};

/** A network with a delay between clients and one model of a server. Tests can cut it. */
export class World {
  readonly clock = new Clock();
  readonly model: Model;
  /** No byte passes, in either direction. */
  down = false;
  /** Handshakes fail, while HTTP works. */
  noWebSocket = false;
  /** The delay of one direction in milliseconds. */
  delay = 5;
  attempts = 0;
  /** The open sockets. */
  readonly sockets = new Set<FakeSocket>();
  /** The errors that the clients reported. */
  readonly errors: TidingsError[] = [];

  constructor(rooms?: string[]) {
    this.model = new Model(rooms);
    this.model.now = this.clock.now;
  }

  client(options: Options = {}): TidingsClient {
    const { user = "alice", storage, ...rest } = options;
    const world = this;
    class Socket extends FakeSocket {
      constructor() {
        super(world);
      }
    }
    return new TidingsClient({
      url: "http://test",
      token: () => `${user}.1`,
      WebSocket: Socket as never,
      fetch: this.fetch,
      timers: this.clock,
      random: () => 0.5,
      lifecycle: { online: () => true, subscribe: () => () => {} },
      onError: (error) => this.errors.push(error),
      storage: storage && customStorage(storage),
      // Given, so that no time passes for a load.
      polls: () => polls,
      ...rest,
    });
  }

  readonly fetch = (async (url: string, init: RequestInit = {}) => {
    const { clock, model } = this;
    const signal = init.signal as AbortSignal | undefined;
    const way = () =>
      new Promise<void>((resolve, reject) => {
        const aborted = () => reject(new Error("aborted"));
        signal?.addEventListener("abort", aborted);
        clock.setTimeout(() => {
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
    let answer = await model.request(init.method ?? "GET", url, token ?? "", body);
    // A poll without events or answers waits.
    const wait = (body?.timeout_ms as number | undefined) ?? 0;
    const until = clock.now() + wait;
    while (url.endsWith("/poll") && answer.status < 300 && clock.now() < until && idle(answer.body)) {
      await clock.change(until);
      if (signal?.aborted) throw new Error("aborted");
      if (this.down) throw new TypeError("fetch failed");
      answer = await model.request("POST", url, token ?? "", { ...body, commands: [] });
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

  /** Cuts every connection without a close frame. */
  cut(code = 1006): void {
    for (const socket of [...this.sockets]) socket.closeNow(code);
  }
}

const idle = (body: Json | undefined) =>
  !(body?.events as unknown[])?.length && !(body?.answers as unknown[])?.length;

/** A WebSocket whose other end is the model. */
export class FakeSocket {
  readyState = 0;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: string }) => void) | null = null;
  onerror: (() => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  readonly #world: World;
  readonly #session: Session;

  constructor(world: World) {
    this.#world = world;
    world.attempts++;
    this.#session = {
      user: undefined,
      joined: new Set(),
      send: (frame) => this.#arrive(frame),
      close: (code, reason = "") => this.#later(() => this.closeNow(code, reason)),
    };
    this.#later(() => {
      if (this.readyState !== 0) return;
      if (world.down || world.noWebSocket) return this.closeNow(1006);
      this.readyState = 1;
      world.sockets.add(this);
      world.model.open(this.#session);
      this.onopen?.();
    });
  }

  send(text: string): void {
    const frame = JSON.parse(text) as Json;
    this.#later(() => {
      if (this.readyState === 1 && !this.#world.down) this.#world.model.frame(this.#session, frame);
    });
  }

  close(): void {
    this.closeNow(1000);
  }

  /** Delivers raw text. */
  deliver(text: string): void {
    this.#later(() => this.readyState === 1 && !this.#world.down && this.onmessage?.({ data: text }));
  }

  /** Closes the socket as the client sees it. */
  closeNow(code: number, reason = ""): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.#world.sockets.delete(this);
    this.#world.model.closed(this.#session);
    this.onclose?.({ code, reason });
  }

  #arrive(frame: Json): void {
    this.deliver(JSON.stringify(frame));
  }

  #later(run: () => void): void {
    this.#world.clock.setTimeout(run, this.#world.delay);
  }
}

/** A storage that survives its clients. A killed tab cannot write to it any more. */
export function sharedDisk(): StorageAdapter & { tab(): StorageAdapter & { kill(): void } } {
  const inner = memoryStorage();
  return {
    ...inner,
    tab() {
      let dead = false;
      return {
        getItem: (key) => inner.getItem(key),
        setItem: (key, value) => (dead ? undefined : inner.setItem(key, value)),
        removeItem: (key) => (dead ? undefined : inner.removeItem(key)),
        keys: () => inner.keys?.() ?? [],
        kill: () => {
          dead = true;
        },
      };
    },
  };
}
