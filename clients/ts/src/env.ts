import { checkOptions, checkOrigin } from "./check-options.js";
import { browserLifecycle } from "./lifecycle.js";
import { omitNullish } from "./omit-nullish.js";
import { systemTimers, withTimeout } from "./timers.js";
import type {
  ClientOptions,
  DebugEntry,
  Endpoint,
  Lifecycle,
  OutboxStorage,
  Timers,
  TokenRequest,
  WebSocketConstructor,
} from "./types.js";

/** The options with all defaults. Globals such as `fetch` are read by `makeEnv`, not when the kit is imported. */
export interface Env {
  readonly transport: "auto" | "websocket" | "poll";
  readonly token: (request: TokenRequest) => Promise<string>;
  readonly account?: string;
  readonly storage: OutboxStorage | undefined;
  readonly WebSocket: WebSocketConstructor | undefined;
  readonly fetch: typeof fetch;
  readonly timers: Timers;
  readonly random: () => number;
  readonly lifecycle: Lifecycle;
  readonly awayAfterMs: number;
  readonly outboxLimit: number;
  readonly windowSize: number;
  readonly polls: NonNullable<ClientOptions["polls"]>;
  /** The origin of the gateway, without a trailing slash. */
  readonly gateway: () => Promise<string>;
  /** The origin of the HTTP interface, without a trailing slash. */
  readonly origin: () => Promise<string>;
  /** Receives each frame and each step of the connection; undefined unless the option `debug` is set. */
  readonly debug: ((entry: DebugEntry) => void) | undefined;
  /** Reports an error of work that no caller awaits. */
  readonly report: (thrown: unknown) => void;
}

/** The time limit for the app to return a token or an origin, in milliseconds. */
const APP_TIMEOUT_MS = 15_000;

// biome-ignore lint/suspicious/noConsole: the option `debug` asks for this output
const logEntry = (entry: DebugEntry): void => console.debug("[tidings]", entry);

/**
 * Checks the options and adds the defaults. Throws TidingsError `bad_request` for a wrong option.
 * @param report receives the errors of work that no caller awaits
 */
export function makeEnv(options: ClientOptions, report: (thrown: unknown) => void): Env {
  checkOptions(options);
  const { url, httpUrl = url, token, debug, timers = systemTimers } = options;
  const resolveOrigin = async (field: string, endpoint: Endpoint): Promise<string> =>
    checkOrigin(
      field,
      typeof endpoint === "string" ? endpoint : await withTimeout(timers, APP_TIMEOUT_MS, endpoint),
    );
  return {
    transport: "auto",
    WebSocket: (globalThis as { WebSocket?: unknown }).WebSocket as WebSocketConstructor | undefined,
    fetch: (input, init) => globalThis.fetch(input, init),
    random: Math.random,
    lifecycle: browserLifecycle(),
    awayAfterMs: 300_000,
    outboxLimit: 500,
    windowSize: 100,
    storage: undefined,
    // Most networks allow WebSockets, so the polls are loaded only when needed.
    polls: () => import("./polls.js"),
    ...omitNullish(options),
    timers,
    token: (request) => withTimeout(timers, APP_TIMEOUT_MS, () => token(request)),
    gateway: () => resolveOrigin("url", url),
    origin: () => resolveOrigin("httpUrl", httpUrl),
    debug: debug === true ? logEntry : debug || undefined,
    report,
  };
}
