/** What a client runs on, in the hands of a test: its clock, its network and its life. */
import { setMaxListeners } from "node:events";
import WebSocket from "ws";
import type {
  ClientOptions,
  Lifecycle,
  LifecycleEvent,
  Timers,
  WebSocketConstructor,
} from "../../src/index.js";

/** A phone, or a tab of a browser. */
export class Device {
  readonly #speed: number;
  readonly #born: number;
  readonly #timeouts = new Set<NodeJS.Timeout>();
  readonly #sockets = new Set<WebSocket>();
  readonly #listeners = new Set<(event: LifecycleEvent) => void>();
  readonly #calls = new AbortController();
  #jumped = 0;
  #alive = true;
  #online = true;
  /** Whether WebSockets can be opened at all. */
  webSockets = true;
  /** Which frames of the client get lost on the way, though the connection stays. */
  loses: (text: string) => boolean = () => false;

  /**
   * @param speed how much faster than others its clock runs: long pauses in short tests
   * @param born when its clock was right; devices that share something are to agree on it
   */
  constructor(speed = 1, born = Date.now()) {
    this.#speed = speed;
    this.#born = born;
    // As many as there are requests under way.
    setMaxListeners(0, this.#calls.signal);
  }

  readonly timers: Timers = {
    now: () => this.#born + Math.floor((Date.now() - this.#born) * this.#speed) + this.#jumped,
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

  /** What a client on this device is given. */
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
        if (!device.loses(String(data))) super.send(String(data));
      }
    }
    return {
      timers: this.timers,
      lifecycle: this.lifecycle,
      WebSocket: Socket as unknown as WebSocketConstructor,
      fetch: (input, init) => {
        if (!this.#alive) return new Promise(() => undefined);
        const signals = [this.#calls.signal, ...(init?.signal ? [init.signal] : [])];
        return fetch(input, { ...init, signal: AbortSignal.any(signals) });
      },
    };
  }

  /** How many WebSockets are open on it; those that are about to close are not. */
  get sockets(): number {
    return this.#count(WebSocket.OPEN);
  }

  /** How many have been opened and not closed to the end. */
  get standing(): number {
    return this.#count(WebSocket.OPEN, WebSocket.CLOSING);
  }

  #count(...states: number[]): number {
    return [...this.#sockets].filter(({ readyState }) => states.includes(readyState)).length;
  }

  /** Tells the client something of the device. */
  tell(event: LifecycleEvent): void {
    if (event === "online" || event === "offline") this.#online = event === "online";
    for (const listener of [...this.#listeners]) listener(event);
  }

  /** It slept for that long, and awakes. */
  jump(ms: number): void {
    this.#jumped += ms;
  }

  /** Closes every socket from underneath, as a change of the network does. */
  cut(): void {
    for (const socket of this.#sockets) socket.terminate();
  }

  /** The page is gone in the middle of everything: nothing of it runs on, nobody is told. */
  die(): void {
    this.#alive = false;
    for (const timeout of this.#timeouts) clearTimeout(timeout);
    this.#listeners.clear();
    for (const socket of this.#sockets) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.terminate();
    }
    this.#calls.abort();
  }
}
