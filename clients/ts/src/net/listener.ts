import type { TidingsError } from "../errors.js";
import type { ConnectedFrame, ServerFrame } from "../protocol/frames.js";

/** Who is told of the connection. */
export interface Listener {
  /** Connected, also again: nothing that was said on the connection before holds. */
  up(welcome: ConnectedFrame): void;
  frame(frame: ServerFrame): void;
  /** Not connected any more, also where it is again at once; `ended`: until the app wants to be. */
  down(ended?: TidingsError): void;
}
