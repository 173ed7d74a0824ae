import type { TidingsError } from "../errors.js";
import type { ClientFrame, ServerFrame } from "../protocol/frames.js";

/** Whatever carries frames to a server and back: a WebSocket, or polls that look like one. */
export interface Link {
  readonly kind: "websocket" | "poll";
  send(frame: ClientFrame): void;
  /** Ends it; nothing is told any more. */
  close(): void;
}

/** Who listens to a link. */
export interface LinkHost {
  /** A frame came; `undefined` for what could not be read. */
  frame(frame: ServerFrame | undefined): void;
  /** It is over: with a close code, and what was told before. */
  closed(code: number, reason: string, told?: TidingsError): void;
  /** A poll says whether a WebSocket is worth trying. */
  websocket(worth: boolean): void;
}
