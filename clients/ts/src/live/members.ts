import type { Feature } from "../feature.js";
import { queryString } from "../net/http.js";
import { omitNullish } from "../omit-nullish.js";
import { filterShape, SHAPES } from "../protocol/check.js";
import type { LogEvent, MemberEvent } from "../protocol/frames.js";
import type { MemberObject } from "../protocol/objects.js";
import type { RoomImpl } from "../room/room.js";
import { cell } from "../store.js";
import { Timer } from "../timers.js";
import type { Member, Members } from "../types.js";

const PAGE_SIZE = 200;
/**
 * How long after an addition the list is read again, in milliseconds, because events do not contain the names of new
 * members. One read serves all members that were added meanwhile. Each further delay doubles, up to the maximum.
 */
const FIRST_NAME_READ_DELAY_MS = 1_000;
const MAX_NAME_READ_DELAY_MS = 30_000;
/** The number of recent events that are kept. The kit applies them to each list that it reads. */
const MAX_RECENT_EVENTS = 200;

/** The members of a room: read on demand, then kept current by events. */
export class MembersFeature implements Feature, Members {
  readonly #store = cell<readonly Member[] | undefined>(undefined);
  readonly #room: RoomImpl;
  readonly #nameTimer: Timer;
  #loading: Promise<readonly Member[]> | undefined;
  #recentEvents: MemberEvent[] = [];
  /** Whether the list comes from the storage, so that it must be read again once the room is joined. */
  #restored = false;
  /** Members that an event added and whose names have not been read yet. */
  readonly #newMembers = new Set<string>();
  readonly get = this.#store.get;
  readonly subscribe = this.#store.subscribe;

  constructor(room: RoomImpl) {
    this.#room = room;
    this.#nameTimer = new Timer(room.core.env.timers);
  }

  readonly load = (): Promise<readonly Member[]> => {
    if (this.#loading) return this.#loading;
    const loading = this.#read().finally(() => {
      if (this.#loading === loading) this.#loading = undefined;
    });
    this.#loading = loading;
    return loading;
  };

  /** Shows a list that was kept in the storage, unless a list is loaded. */
  restore(list: readonly Member[]): void {
    if (this.get()) return;
    this.#restored = true;
    this.#store.set(list);
  }

  /** Reads a loaded list again, because events were missed. */
  missed(): void {
    this.#recentEvents = [];
    if (this.get()) this.#room.detach(this.load);
  }

  event(event: LogEvent): void {
    if (!("user" in event)) return;
    this.#recentEvents = [...this.#recentEvents, event].slice(-MAX_RECENT_EVENTS);
    if (event.type === "member:removed") this.#newMembers.delete(event.user);
    const list = this.get();
    if (!list) return;
    this.#store.set(applyMemberEvent(list, event));
    if (event.type !== "member:added") return;
    this.#newMembers.add(event.user);
    if (!this.#nameTimer.pending) this.#readNamesIn(FIRST_NAME_READ_DELAY_MS);
  }

  /**
   * After a join, reads a restored list again, and the missing names, because a disconnect may have cancelled the timer.
   */
  joined(): void {
    if (this.#restored) this.#room.detach(this.load);
    if (this.#newMembers.size) this.#readNamesIn(FIRST_NAME_READ_DELAY_MS);
  }

  down(): void {
    this.#nameTimer.clear();
  }

  /** Drops the members, because another user has connected. */
  userChanged(): void {
    this.#newMembers.clear();
    this.#loading = undefined;
    this.#recentEvents = [];
    this.#restored = false;
    this.#store.set(undefined);
  }

  /** Reads the list again after `ms` milliseconds, then with doubled pauses until it contains all new members. */
  #readNamesIn(ms: number): void {
    this.#nameTimer.set(ms, () => {
      const { core } = this.#room;
      core
        .limit(this.load)
        .catch((thrown) => core.env.report(thrown))
        .then(() => {
          const { up } = core.connection;
          if (up && this.#newMembers.size && !this.#nameTimer.pending && ms < MAX_NAME_READ_DELAY_MS)
            this.#readNamesIn(2 * ms);
        });
    });
  }

  async #read(): Promise<readonly Member[]> {
    let list: readonly Member[] = [];
    let cursor: string | undefined;
    do {
      const page = await this.#room.read<{ members: unknown; next?: string | null }>(
        `/members${queryString({ limit: PAGE_SIZE, cursor })}`,
      );
      list = [...list, ...filterShape<MemberObject>(page?.members, SHAPES.member).map(toMember)];
      cursor = page?.next ?? undefined;
    } while (cursor);
    this.#restored = false;
    for (const { user } of list) this.#newMembers.delete(user);
    // The list from PostgreSQL may lack recent events. Applying an event twice changes nothing.
    for (const event of this.#recentEvents) list = applyMemberEvent(list, event);
    this.#store.set(list);
    return list;
  }
}

function toMember({ user, name, picture, role, joined_at }: MemberObject): Member {
  const joinedAt = Date.parse(joined_at ?? "") || undefined;
  return omitNullish({ user, name: name || undefined, picture: picture || undefined, role, joinedAt });
}

function applyMemberEvent(list: readonly Member[], event: MemberEvent): readonly Member[] {
  const { user } = event;
  if (event.type === "member:removed") return list.filter((member) => member.user !== user);
  const { role } = event;
  if (!list.some((member) => member.user === user)) {
    return [...list, { user, role, joinedAt: Date.parse(event.at) }].sort((a, b) =>
      a.user < b.user ? -1 : 1,
    );
  }
  return list.map((member) => (member.user === user ? { ...member, role } : member));
}
