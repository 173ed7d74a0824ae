/** The environment of a client under the control of a test: clock, network and lifecycle. */
import { setMaxListeners } from "node:events";
import WebSocket from "ws";
import type {
  ClientOptions,
  Lifecycle,
  LifecycleEvent,
  Timers,
  WebSocketConstructor,
} from "../../src/index.js";
import { sleep } from "./until.js";

/** A phone, or a tab of a browser. */
export class Device {
  readonly #speed: number;
  readonly #clockOrigin: number;
  readonly #timeouts = new Set<NodeJS.Timeout>();
  readonly #sockets = new Set<WebSocket>();
  readonly #listeners = new Set<(event: LifecycleEvent) => void>();
  readonly #requestAbort = new AbortController();
  #jumpedMs = 0;
  #alive = true;
  #online = true;
  /** Whether WebSockets can be opened. */
  webSockets = true;
  /** Returns true for a frame of the client that is lost although the connection stays open. */
  dropsFrame: (text: string) => boolean = () => false;

  /**
   * @param speed how many times faster the clock of the device runs, so that tests with long pauses are short
   * @param clockOrigin the time at which the clock was right; devices with a shared storage need the same value
   */
  constructor(speed = 1, clockOrigin = Date.now()) {
    this.#speed = speed;
    this.#clockOrigin = clockOrigin;
    // Each pending request adds a listener, and by default Node warns about a leak above ten of them.
    setMaxListeners(0, this.#requestAbort.signal);
  }

  readonly timers: Timers = {
    now: () =>
      this.#clockOrigin + Math.floor((Date.now() - this.#clockOrigin) * this.#speed) + this.#jumpedMs,
    setTimeout: (run, ms) => {
      if (!this.#alive) return undefined;
      const timeout = setTimeout(() => {
        this.#timeouts.delete(timeout);
        run();
      }, ms / this.#speed);
      this.#timeouts.add(timeout);
      return timeout;
    },
    clearTimeout: (timeout) => {
      clearTimeout(timeout as NodeJS.Timeout);
      this.#timeouts.delete(timeout as NodeJS.Timeout);
    },
  };

  readonly lifecycle: Lifecycle = {
    online: () => this.#online,
    subscribe: (listener) => {
      this.#listeners.add(listener);
      return () => void this.#listeners.delete(listener);
    },
  };

  /** The options of a client on this device. */
  get options(): Pick<ClientOptions, "timers" | "lifecycle" | "WebSocket" | "fetch"> {
    const device = this;
    class Socket extends WebSocket {
      constructor(url: string, protocols?: string | string[]) {
        if (!device.#alive) throw new Error("nothing runs here any more");
        super(device.webSockets ? url : "ws://127.0.0.1:1", protocols);
        device.#sockets.add(this);
        this.once("close", () => device.#sockets.delete(this));
      }

      override send(data: unknown): void {
        if (!device.dropsFrame(String(data))) super.send(String(data));
      }
    }
    return {
      timers: this.timers,
      lifecycle: this.lifecycle,
      WebSocket: Socket as unknown as WebSocketConstructor,
      fetch: (input, init) => {
        if (!this.#alive) return new Promise(() => undefined);
        const signals = [this.#requestAbort.signal, ...(init?.signal ? [init.signal] : [])];
        return fetch(input, { ...init, signal: AbortSignal.any(signals) });
      },
    };
  }

  /** The number of open WebSockets, without those that are closing. */
  get sockets(): number {
    return this.#count(WebSocket.OPEN);
  }

  /** The number of WebSockets that are open or closing. */
  get openOrClosing(): number {
    return this.#count(WebSocket.OPEN, WebSocket.CLOSING);
  }

  #count(...states: number[]): number {
    return [...this.#sockets].filter(({ readyState }) => states.includes(readyState)).length;
  }

  /** Emits a lifecycle event. */
  emit(event: LifecycleEvent): void {
    if (event === "online" || event === "offline") this.#online = event === "online";
    for (const listener of [...this.#listeners]) listener(event);
  }

  /** Waits `ms` milliseconds of the device's clock. */
  wait(ms: number): Promise<void> {
    return sleep(ms / this.#speed);
  }

  /** Moves the clock, as after a sleep. */
  jump(ms: number): void {
    this.#jumpedMs += ms;
  }

  /** Terminates every socket, as a change of the network does. */
  cut(): void {
    for (const socket of this.#sockets) socket.terminate();
  }

  /** Ends the page as in a crash: all its code stops, and no event is emitted. */
  crash(): void {
    this.#alive = false;
    for (const timeout of this.#timeouts) clearTimeout(timeout);
    this.#listeners.clear();
    for (const socket of this.#sockets) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.terminate();
    }
    this.#requestAbort.abort();
  }
}
