import { browserLifecycle } from "./lifecycle.js";
import { tidy } from "./tidy.js";
import { systemTimers, within } from "./timers.js";
import type {
  ClientOptions,
  Endpoint,
  Lifecycle,
  OutboxStorage,
  Timers,
  WebSocketConstructor,
} from "./types.js";

/** The options with all that was left out filled in. Looked up here, never when the kit is imported. */
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
  /** The origin of the gateway, without a slash at its end. */
  readonly gateway: () => Promise<string>;
  /** The origin of the HTTP interface. */
  readonly origin: () => Promise<string>;
  /** Tells the app of what nobody awaits. */
  readonly report: (thrown: unknown) => void;
}

/** How long the app may take to tell a token or an origin, in milliseconds; then it is asked again. */
const TELL_MS = 15_000;

/** Fills in what was not given. */
export function makeEnv(options: ClientOptions, report: (thrown: unknown) => void): Env {
  const { url, httpUrl = url, token, timers = systemTimers } = options;
  const resolve = async (endpoint: Endpoint): Promise<string> =>
    (typeof endpoint === "string" ? endpoint : await within(timers, TELL_MS, endpoint)).replace(/\/+$/, "");
  return {
    transport: "auto",
    WebSocket: (globalThis as { WebSocket?: unknown }).WebSocket as WebSocketConstructor | undefined,
    fetch: (input, init) => globalThis.fetch(input, init),
    random: Math.random,
    lifecycle: browserLifecycle(),
    outboxLimit: 500,
    windowSize: 100,
    storage: undefined,
    // Most networks let a WebSocket through: what polls is loaded where one does not.
    polls: () => import("./polls.js"),
    ...tidy(options),
    timers,
    token: () => within(timers, TELL_MS, token),
    gateway: () => resolve(url),
    origin: () => resolve(httpUrl),
    report,
  };
}
