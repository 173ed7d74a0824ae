import { errorFrom, type TidingsError } from "../errors.js";
import { parseFrame } from "../protocol/check.js";
import type { ClientFrame } from "../protocol/frames.js";
import type { WebSocketConstructor, WebSocketLike } from "../types.js";
import type { Link, LinkHost } from "./link.js";

/** A connection over a WebSocket. The token goes in the first frame, where no log of addresses sees it. */
export class WebSocketLink implements Link {
  readonly kind = "websocket";
  readonly #socket: WebSocketLike;

  /** Throws what the constructor of the WebSocket throws. */
  constructor(make: WebSocketConstructor, origin: string, token: string, host: LinkHost) {
    const socket = new make(`${origin.replace(/^http/, "ws")}/v1/ws`, "tidings.v1");
    this.#socket = socket;
    let told: TidingsError | undefined;
    socket.onopen = () => this.send({ type: "auth", token });
    socket.onmessage = ({ data }: { data: unknown }) => {
      const frame = parseFrame(data);
      // A refusal of no command, right before the close, says why that comes.
      told = frame?.type === "error" && !frame.ref ? errorFrom(frame, frame.code) : undefined;
      host.frame(frame);
    };
    // `ws` would throw without it; the close says all there is to know.
    socket.onerror = () => {};
    socket.onclose = ({ code, reason }: { code?: number; reason?: string }) =>
      host.closed(code ?? 1006, reason ?? "", told);
  }

  send(frame: ClientFrame): void {
    // A socket that is about to close takes nothing; its close will be told.
    if (this.#socket.readyState === 1) this.#socket.send(JSON.stringify(frame));
  }

  close(): void {
    const socket = this.#socket;
    socket.onopen = socket.onmessage = socket.onclose = null;
    try {
      socket.close(1000);
    } catch {
      // Some throw when it is not open yet; it is let go all the same.
    }
  }
}
