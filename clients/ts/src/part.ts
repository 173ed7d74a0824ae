import type { TidingsError } from "./errors.js";
import type { LogEvent, ServerFrame } from "./protocol/frames.js";

/**
 * What a client or a room may have beside what every app needs: made when it is asked for first, and told of
 * what happens from then on.
 */
export interface Part {
  /** Connected, also again. */
  up?(): void;
  /** Of a client: any frame. Of a room: those that name it and stand in no log. */
  frame?(frame: ServerFrame): void;
  /** An event of the log, which has been applied to the messages. */
  event?(event: LogEvent): void;
  /** The room was joined, or the server's memory began anew. */
  joined?(): void;
  /** There may be events that never come. */
  missed?(): void;
  /** The log has come up to here. */
  moved?(seq: number): void;
  /** One wrote a message. */
  sent?(): void;
  /** No connection, or no room any more. `ended`: nobody will connect by themselves. */
  down?(ended?: TidingsError): void;
  /** Nobody has the room open any more. */
  closed?(): void;
  /** Somebody else is here now: nothing that is held is theirs. */
  forget?(): void;
}

/** The parts of one client or room. */
export class Parts<H> {
  readonly #host: H;
  readonly #parts = new Map<unknown, Part>();

  constructor(host: H) {
    this.#host = host;
  }

  /** The part that this class makes, the same one each time. */
  of<P extends Part>(make: new (host: H) => P): P {
    let part = this.#parts.get(make);
    if (!part) {
      part = new make(this.#host);
      this.#parts.set(make, part);
    }
    return part as P;
  }

  /** Tells all of them. */
  tell<K extends keyof Part>(what: K, ...of: Parameters<NonNullable<Part[K]>>): void {
    type Told = { readonly [K in keyof Part]?: (...of: unknown[]) => void };
    for (const part of this.#parts.values()) (part as Told)[what]?.(...of);
  }
}
