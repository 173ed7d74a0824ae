import { browserLifecycle } from "./lifecycle.js";
import { omitNullish } from "./omit-nullish.js";
import { systemTimers, withTimeout } from "./timers.js";
import type {
  ClientOptions,
  Endpoint,
  Lifecycle,
  OutboxStorage,
  Timers,
  WebSocketConstructor,
} from "./types.js";

/** The options with all defaults. Globals such as `fetch` are read here, never when the kit is imported. */
export interface Env {
  readonly transport: "auto" | "websocket" | "poll";
  readonly token: () => Promise<string>;
  readonly account?: string;
  readonly storage: OutboxStorage | undefined;
  readonly WebSocket: WebSocketConstructor | undefined;
  readonly fetch: typeof fetch;
  readonly timers: Timers;
  readonly random: () => number;
  readonly lifecycle: Lifecycle;
  readonly outboxLimit: number;
  readonly windowSize: number;
  readonly polls: NonNullable<ClientOptions["polls"]>;
  /** The origin of the gateway, without a trailing slash. */
  readonly gateway: () => Promise<string>;
  /** The origin of the HTTP interface, without a trailing slash. */
  readonly origin: () => Promise<string>;
  /** Reports an error of work that no caller awaits. */
  readonly report: (thrown: unknown) => void;
}

/** The time limit for the app to return a token or an origin, in milliseconds. */
const APP_TIMEOUT_MS = 15_000;

/** Adds the defaults to the options. `report` receives the errors of work that no caller awaits. */
export function makeEnv(options: ClientOptions, report: (thrown: unknown) => void): Env {
  const { url, httpUrl = url, token, timers = systemTimers } = options;
  const resolve = async (endpoint: Endpoint): Promise<string> =>
    (typeof endpoint === "string" ? endpoint : await withTimeout(timers, APP_TIMEOUT_MS, endpoint)).replace(
      /\/+$/,
      "",
    );
  return {
    transport: "auto",
    WebSocket: (globalThis as { WebSocket?: unknown }).WebSocket as WebSocketConstructor | undefined,
    fetch: (input, init) => globalThis.fetch(input, init),
    random: Math.random,
    lifecycle: browserLifecycle(),
    outboxLimit: 500,
    windowSize: 100,
    storage: undefined,
    // Most networks allow WebSockets, so the polls are loaded only when needed.
    polls: () => import("./polls.js"),
    ...omitNullish(options),
    timers,
    token: () => withTimeout(timers, APP_TIMEOUT_MS, token),
    gateway: () => resolve(url),
    origin: () => resolve(httpUrl),
    report,
  };
}
