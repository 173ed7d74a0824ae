import type { TidingsClientLike } from "@tidings/client";
import { people } from "@tidings/client/http";

/** The most users whose names are remembered. */
const MAX_NAMES = 1_000;

interface NamedUser {
  readonly user: string;
  readonly name?: string | null | undefined;
}

/**
 * Names of users, for rooms whose members are not loaded. They come from messages, additions and searches. The server
 * is asked only for users whom a message names.
 */
class NameDirectory {
  /** A user without a name was looked up, and the server returned none. */
  private readonly names = new Map<string, string | undefined>();
  private readonly listeners = new Set<() => void>();
  private lookUps: Promise<void> = Promise.resolve();

  constructor(private readonly client: TidingsClientLike) {}

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  nameOf(user: string): string | undefined {
    return this.names.get(user);
  }

  learn(users: readonly NamedUser[]): void {
    const changed = users.filter(({ user, name }) => name && this.names.get(user) !== name);
    if (changed.length === 0) return;
    for (const { user, name } of changed) this.set(user, name ?? undefined);
    for (const listener of [...this.listeners]) listener();
  }

  /** Asks for the names of members of a room: once for each user, and one request at a time. */
  lookUp(room: string, users: readonly string[]): void {
    for (const user of users) {
      this.lookUps = this.lookUps.then(async () => {
        if (this.names.has(user)) return;
        this.set(user, undefined);
        try {
          this.learn((await people(this.client, user, { room })).filter((one) => one.user === user));
        } catch {
          // Until the next look-up the name is made from the id.
          this.names.delete(user);
        }
      });
    }
  }

  private set(user: string, name: string | undefined): void {
    this.names.delete(user);
    this.names.set(user, name);
    for (const oldest of this.names.keys()) {
      if (this.names.size <= MAX_NAMES) break;
      this.names.delete(oldest);
    }
  }
}

const directories = new WeakMap<TidingsClientLike, { me: string | undefined; directory: NameDirectory }>();

/** The names that the page has learnt for the present user of the client. */
export function namesOf(client: TidingsClientLike): NameDirectory {
  const me = client.me.get()?.id;
  let found = directories.get(client);
  if (found === undefined || (found.me !== me && found.me !== undefined)) {
    found = { me, directory: new NameDirectory(client) };
    directories.set(client, found);
  }
  found.me = me ?? found.me;
  return found.directory;
}
