/** The interfaces through which the kit uses the platform. An app may implement them itself. */

/** An origin such as `https://chat.example.com`, or a function that returns one and is called before each use. */
export type Endpoint = string | (() => string | Promise<string>);

/** The clock and the timers that the kit uses. */
export interface Timers {
  /** Returns the milliseconds since 1970. */
  now(): number;
  /** Runs a function once after `ms` milliseconds. Returns a handle for `clearTimeout`. */
  setTimeout(run: () => void, ms: number): unknown;
  /** Cancels a timer. Ignores `undefined` and timers that have run. */
  clearTimeout(handle: unknown): void;
}

/** The events of a lifecycle. `hide` is the last event before the browser may discard the page. */
export type LifecycleEvent = "visible" | "hidden" | "online" | "offline" | "hide";

/** Reports whether the app is visible and has a network. On React Native, use `@tidings/react-native`. */
export interface Lifecycle {
  /** Whether the device reports a network. */
  online(): boolean;
  /** Whether the app is visible now. Without this function the app counts as visible until an event says otherwise. */
  visible?(): boolean;
  /** Calls the listener for each event. Returns a function that removes the listener. */
  subscribe(listener: (event: LifecycleEvent) => void): () => void;
  /**
   * Calls the listener when the user uses the keyboard, the mouse or the screen. Returns a function that removes the
   * listener. Without this function a visible app counts as used.
   */
  onInput?(listener: () => void): () => void;
}

/** The part of the browser's WebSocket that the kit uses. The WebSocket of the package `ws` also has this part. */
export interface WebSocketLike {
  readonly readyState: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  /** Sends a text message. */
  send(data: string): void;
  /** Closes the connection. */
  close(code?: number, reason?: string): void;
}

/** A class that creates WebSockets. */
export type WebSocketConstructor = new (url: string, protocols?: string | string[]) => WebSocketLike;

/** A key-value storage for the outbox and the drafts. When a function throws or rejects, the kit works from memory. */
export interface StorageAdapter {
  /** Returns the value of a key, or null. */
  getItem(key: string): string | null | Promise<string | null>;
  /** Stores a value. A returned promise is awaited. */
  setItem(key: string, value: string): unknown;
  /** Deletes a key. A returned promise is awaited. */
  removeItem(key: string): unknown;
  /** Returns all keys. Without this function the kit cannot find unsent messages of pages that were closed. */
  keys?(): readonly string[] | Promise<readonly string[]>;
  /** The same as `keys`, with the name that AsyncStorage uses. The kit calls the function that exists. */
  getAllKeys?(): readonly string[] | Promise<readonly string[]>;
  /**
   * Calls the listener with each key that another tab has changed, or with null if the key is unknown. Returns a
   * function that removes the listener.
   */
  subscribe?(listener: (key: string | null) => void): () => void;
}
