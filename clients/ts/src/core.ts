import type { Env } from "./env.js";
import type { ServerConnection } from "./net/connection.js";
import type { Http } from "./net/http.js";
import type { Tokens } from "./net/tokens.js";
import type { OutboxImpl } from "./outbox/outbox.js";
import type { OwnPresence } from "./own-presence.js";
import type { ClientEvents, Me } from "./types.js";

/** The objects and functions that the modules of one client share. */
export interface Core {
  readonly env: Env;
  readonly connection: ServerConnection;
  readonly http: Http;
  readonly tokens: Tokens;
  readonly outbox: OutboxImpl;
  readonly ownPresence: OwnPresence;
  /** The current user; undefined before the first connection. */
  readonly me: () => Me | undefined;
  /** Runs `work` when fewer than `MAX_CONCURRENT_ROOM_REQUESTS` requests about single rooms are running. */
  readonly limit: <T>(work: () => Promise<T>) => Promise<T>;
  readonly emit: <E extends keyof ClientEvents>(event: E, value: ClientEvents[E]) => void;
}
