import type { TidingsClientLike } from "@tidings/client";
import { people } from "@tidings/client/http";

/** The most users whose names are remembered. */
const MAX_NAMES = 1_000;
/** The most users who wait for their look-up. */
const MAX_LOOK_UPS = 200;
/** How long after an event of a room a look-up may be due to this event, in milliseconds. */
const EVENT_MS = 2_000;
/**
 * The random time before a look-up that is due to an event grows with the members, because all of them may look up the
 * same user.
 */
const SPREAD_PER_MEMBER_MS = 5;
const MAX_SPREAD_MS = 60_000;

interface NamedUser {
  readonly user: string;
  readonly name?: string | null | undefined;
}

interface LookUp {
  readonly user: string;
  readonly room: string;
  readonly spreadMs: number;
  /** How many parts of the page want the name. */
  wanted: number;
}

/**
 * Names of users, for rooms whose members are not loaded. They come from messages, additions and searches. The server
 * is asked only for users whom a message names.
 */
class NameDirectory {
  /** A user without a name was looked up, and the server returned none. */
  private readonly names = new Map<string, string | undefined>();
  private readonly listeners = new Set<() => void>();
  /** The users to look up, the next one first. */
  private readonly lookUps = new Map<string, LookUp>();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private busy = false;
  /** When each room last had an event. */
  private readonly eventTimes = new Map<string, number>();

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

  /** Must be called at each event of a room that is shown. */
  eventArrived(room: string): void {
    this.eventTimes.set(room, Date.now());
  }

  /**
   * Asks for the names of members of a room: once for each user, and one request at a time. Waits a random time before
   * each request that is due to an event.
   * @param members the number of members of the room
   * @returns a function to call when the names are not wanted any more
   */
  lookUp(room: string, users: readonly string[], members: number): () => void {
    const isLive = Date.now() - (this.eventTimes.get(room) ?? 0) < EVENT_MS;
    const spreadMs = isLive ? Math.min(members * SPREAD_PER_MEMBER_MS, MAX_SPREAD_MS) : 0;
    const wanted = users
      .filter((user) => !this.names.has(user))
      .map((user) => this.enqueue(user, room, spreadMs));
    this.schedule();
    return () => {
      // The look-up stays in the queue, because the next render may want it again.
      for (const one of wanted) one.wanted--;
    };
  }

  private enqueue(user: string, room: string, spreadMs: number): LookUp {
    const lookUp = this.lookUps.get(user) ?? { user, room, spreadMs, wanted: 0 };
    lookUp.wanted++;
    this.lookUps.set(user, lookUp);
    for (const oldest of this.lookUps.keys()) {
      if (this.lookUps.size <= MAX_LOOK_UPS) break;
      this.lookUps.delete(oldest);
    }
    return lookUp;
  }

  /** The next look-up. Those that are not due to an event go first. */
  private next(): LookUp | undefined {
    const all = [...this.lookUps.values()];
    return all.find(({ spreadMs }) => spreadMs === 0) ?? all[0];
  }

  private schedule(): void {
    const next = this.next();
    if (!next || this.busy || (this.timer !== undefined && next.spreadMs > 0)) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.run(), Math.random() * next.spreadMs);
  }

  private async run(): Promise<void> {
    this.timer = undefined;
    for (const { user, wanted } of [...this.lookUps.values()])
      if (wanted === 0 || this.names.has(user)) this.lookUps.delete(user);
    const next = this.next();
    if (!next) return;
    const { user, room } = next;
    this.lookUps.delete(user);
    this.set(user, undefined);
    this.busy = true;
    try {
      this.learn((await people(this.client, user, { room })).filter((one) => one.user === user));
    } catch {
      // Until the next look-up the name is made from the id.
      this.names.delete(user);
    }
    this.busy = false;
    this.schedule();
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
