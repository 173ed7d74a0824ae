/** The WebSockets of a test network. */
import type { TestNetwork } from "./network.js";
import type { Json, Session } from "./server.js";

/** A WebSocket whose other end is the server. */
export class FakeSocket {
  readyState = 0;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: string }) => void) | null = null;
  onerror: (() => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  readonly #network: TestNetwork;
  readonly #session: Session;

  constructor(network: TestNetwork) {
    this.#network = network;
    network.attempts++;
    this.#session = {
      user: undefined,
      joined: new Set(),
      send: (frame) => this.#arrive(frame),
      close: (code, reason = "") => this.#later(() => this.closeNow(code, reason)),
    };
    this.#later(() => {
      if (this.readyState !== 0) return;
      if (network.down || network.noWebSocket) return this.closeNow(1006);
      this.readyState = 1;
      network.sockets.add(this);
      network.server.open(this.#session);
      this.onopen?.();
    });
  }

  send(text: string): void {
    const frame = JSON.parse(text) as Json;
    this.#later(() => {
      if (this.readyState === 1 && !this.#network.down) this.#network.server.frame(this.#session, frame);
    });
  }

  close(): void {
    this.closeNow(1000);
  }

  /** Delivers raw text. */
  deliver(text: string): void {
    this.#later(() => this.readyState === 1 && !this.#network.down && this.onmessage?.({ data: text }));
  }

  /** Closes both ends at once, without the delay of the network. */
  closeNow(code: number, reason = ""): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.#network.sockets.delete(this);
    this.#network.server.closed(this.#session);
    this.onclose?.({ code, reason });
  }

  #arrive(frame: Json): void {
    this.deliver(JSON.stringify(frame));
  }

  #later(run: () => void): void {
    this.#network.timers.setTimeout(run, this.#network.delay);
  }
}
