import { errorFrom, type TidingsError } from "../errors.js";
import { parseFrame } from "../protocol/check.js";
import type { ClientFrame } from "../protocol/frames.js";
import type { WebSocketConstructor, WebSocketLike } from "../types.js";
import type { Link, LinkHost } from "./link.js";

/** A link over a WebSocket. The token goes in the first frame, so that access logs do not contain it. */
export class WebSocketLink implements Link {
  readonly #socket: WebSocketLike;
  readonly #host: LinkHost;

  /** Throws the error of the WebSocket's constructor. */
  constructor(WebSocketClass: WebSocketConstructor, origin: string, token: string, host: LinkHost) {
    const socket = new WebSocketClass(`${origin.replace(/^http/, "ws")}/v1/ws`, "tidings.v1");
    this.#socket = socket;
    this.#host = host;
    let serverError: TidingsError | undefined;
    socket.onopen = () => this.send({ type: "auth", token });
    socket.onmessage = ({ data }: { data: unknown }) => {
      const frame = parseFrame(data);
      // An error without a ref, directly before the close, explains the close.
      serverError = frame?.type === "error" && !frame.ref ? errorFrom(frame, frame.code) : undefined;
      host.frame(frame);
    };
    // Without a handler the package `ws` throws the error. The close event has all details.
    socket.onerror = () => {};
    socket.onclose = ({ code, reason }: { code?: number; reason?: string }) =>
      host.closed(code ?? 1006, reason ?? "", serverError);
  }

  send(frame: ClientFrame): void {
    // A closing socket accepts no frames; its close event follows.
    if (this.#socket.readyState !== 1) return;
    this.#host.sent(frame);
    this.#socket.send(JSON.stringify(frame));
  }

  close(): void {
    const socket = this.#socket;
    socket.onopen = socket.onmessage = socket.onclose = null;
    try {
      socket.close(1000);
    } catch {
      // Some implementations throw while the socket is still connecting.
    }
  }
}
