import type { TidingsError } from "../errors.js";
import type { ConnectedFrame, ServerFrame } from "../protocol/frames.js";

/** Receives the frames and the changes of the connection. */
export interface ConnectionListener {
  /** The client is connected. All state of an earlier connection is invalid. */
  up(welcome: ConnectedFrame): void;
  frame(frame: ServerFrame): void;
  /**
   * The client is disconnected. Also called when a new link replaces the old one at once. `ended` is the
   * reason if the kit will not reconnect.
   */
  down(ended?: TidingsError): void;
}
