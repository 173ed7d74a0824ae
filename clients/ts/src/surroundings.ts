/** What the kit needs of the place where it runs, and what an app may put in its stead. */

/** An origin such as `https://chat.example.com`, or a function asked before each use. */
export type Endpoint = string | (() => string | Promise<string>);

/** Time as the kit sees it: milliseconds since 1970, and timers. */
export interface Timers {
  /** Milliseconds since 1970. */
  now(): number;
  /** Runs something once, that many milliseconds from now; the answer is for clearTimeout. */
  setTimeout(run: () => void, ms: number): unknown;
  /** Makes sure that it does not run any more; `undefined` and what has run are passed over. */
  clearTimeout(handle: unknown): void;
}

/** What a lifecycle tells of; `hide` is the last moment before the page may be gone. */
export type LifecycleEvent = "visible" | "hidden" | "online" | "offline" | "hide";

/** Whether the app is seen and has a network. On React Native: made of AppState and NetInfo. */
export interface Lifecycle {
  /** Whether the device says that it has a network. */
  online(): boolean;
  /** Tells of what happens; the answer stops that. */
  subscribe(listener: (event: LifecycleEvent) => void): () => void;
}

/** The part of the WebSocket of browsers that is used; the class of `ws` has it too. */
export interface WebSocketLike {
  readonly readyState: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  /** Sends a text message. */
  send(data: string): void;
  /** Closes it. */
  close(code?: number, reason?: string): void;
}

/** A class that makes WebSockets. */
export type WebSocketConstructor = new (url: string, protocols?: string | string[]) => WebSocketLike;

/** Where the outbox is kept. Any of the functions may throw or reject: sending goes on from memory. */
export interface StorageAdapter {
  /** The value of a key, or null. */
  getItem(key: string): string | null | Promise<string | null>;
  /** Keeps a value; a promise is awaited. */
  setItem(key: string, value: string): unknown;
  /** Forgets a key; a promise is awaited. */
  removeItem(key: string): unknown;
  /** All keys. Without it what was left from before is not found again. */
  keys?(): readonly string[] | Promise<readonly string[]>;
  /** AsyncStorage's name for the same. */
  getAllKeys?(): readonly string[] | Promise<readonly string[]>;
  /** Tells of what other tabs changed: the key, or null when it is not known which. */
  subscribe?(listener: (key: string | null) => void): () => void;
}
