import type { TidingsError } from "../errors.js";
import type { ClientFrame, ServerFrame } from "../protocol/frames.js";

/** A connection that carries frames to a server and back: a WebSocket, or polls that behave like one. */
export interface Link {
  /** Sends a frame now, or with the next poll. */
  send(frame: ClientFrame): void;
  /** Closes the link. Its host receives no further calls. */
  close(): void;
}

/** Receives the frames and the end of a link. */
export interface LinkHost {
  /** Called with each received frame, or with `undefined` for an invalid frame. */
  frame(frame: ServerFrame | undefined): void;
  /** Called with each frame that the link sends. */
  sent(frame: ClientFrame): void;
  /** Called when the link has closed. `serverError` is the error that the server sent directly before, if any. */
  closed(code: number, reason: string, serverError?: TidingsError): void;
  /** Called when the answer to a poll reports whether a WebSocket may work. */
  hint(worthTrying: boolean): void;
}
