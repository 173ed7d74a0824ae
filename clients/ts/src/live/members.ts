import type { Feature } from "../feature.js";
import { queryString } from "../net/http.js";
import { omitNullish } from "../omit-nullish.js";
import { filterShape, SHAPES } from "../protocol/check.js";
import type { LogEvent, MemberEvent } from "../protocol/frames.js";
import type { MemberObject } from "../protocol/objects.js";
import type { RoomImpl } from "../room/room.js";
import { cell } from "../store.js";
import type { Member, Members } from "../types.js";

const PAGE_SIZE = 200;
/** The number of recent events that are kept. The kit applies them to each page that it reads. */
const MAX_RECENT_EVENTS = 200;

/** The first members of a room by their ids: read by page on demand, then kept current by events. */
export class MembersFeature implements Feature, Members {
  readonly #store = cell<readonly Member[] | undefined>(undefined);
  readonly #room: RoomImpl;
  /** The newest read, and whether it reads the page after the loaded ones. Reads run one after the other. */
  #running: { more: boolean; done: Promise<readonly Member[]> } | undefined;
  /** The cursor of the next page, and the id of the last member before it. Undefined if all members are loaded. */
  #next: { cursor: string; after: string } | undefined;
  #recentEvents: MemberEvent[] = [];
  /** Whether the list comes from the storage, so that it must be read again once the room is joined. */
  #restored = false;
  /** Changes when another user connects. The kit ignores answers that were requested before the change. */
  #generation = 0;
  readonly get = this.#store.get;
  readonly subscribe = this.#store.subscribe;
  readonly load = (): Promise<readonly Member[]> => this.#read(false);
  readonly loadMore = (): Promise<readonly Member[]> => this.#read(true);

  constructor(room: RoomImpl) {
    this.#room = room;
  }

  get hasMore(): boolean {
    return this.#next !== undefined;
  }

  /** Shows a list of all members that was kept in the storage, unless a list is loaded. */
  restore(list: readonly Member[]): void {
    if (this.get()) return;
    this.#restored = true;
    this.#store.set(list);
  }

  /** Reads the first page of a loaded list again, because events were missed. */
  missed(): void {
    this.#recentEvents = [];
    if (this.get()) this.#room.detach(this.load);
  }

  event(event: LogEvent): void {
    if (!("user" in event)) return;
    this.#recentEvents = [...this.#recentEvents, event].slice(-MAX_RECENT_EVENTS);
    const list = this.get();
    if (list) this.#store.set(this.#applied(list, event));
  }

  /** After a join, reads a restored list again. */
  joined(): void {
    if (this.#restored) this.#room.detach(this.load);
  }

  /** Drops the pages of a large room. */
  closed(): void {
    if (this.hasMore || (this.get()?.length ?? 0) > PAGE_SIZE) this.#drop();
  }

  /** Drops the members, because another user has connected. */
  userChanged(): void {
    this.#recentEvents = [];
    this.#drop();
  }

  #drop(): void {
    this.#generation++;
    this.#running = this.#next = undefined;
    this.#restored = false;
    this.#store.set(undefined);
  }

  #read(more: boolean): Promise<readonly Member[]> {
    const before = this.#running;
    if (before?.more === more) return before.done;
    const task = {
      more,
      done: (async () => {
        await before?.done.catch(() => {});
        return this.#readPage(more);
      })().finally(() => {
        if (this.#running === task) this.#running = undefined;
      }),
    };
    this.#running = task;
    return task.done;
  }

  async #readPage(more: boolean): Promise<readonly Member[]> {
    const loaded = (more && this.get()) || [];
    const cursor = more ? this.#next?.cursor : undefined;
    if (loaded.length && !cursor) return loaded;
    const generation = this.#generation;
    const page = await this.#room.read<{ members: unknown; next?: string | null }>(
      `/members${queryString({ limit: PAGE_SIZE, cursor })}`,
    );
    const read = filterShape<MemberObject>(page?.members, SHAPES.member).map(toMember);
    if (generation !== this.#generation) return read;
    this.#restored = false;
    const after = read.at(-1)?.user;
    this.#next = page?.next && after !== undefined ? { cursor: page.next, after } : undefined;
    // Events may have changed the earlier pages meanwhile.
    let list: readonly Member[] = [...((cursor && this.get()) || []), ...read];
    // The page from PostgreSQL may lack recent events. Applying an event twice changes nothing.
    for (const event of this.#recentEvents) list = this.#applied(list, event);
    this.#store.set(list);
    return list;
  }

  #applied(list: readonly Member[], event: MemberEvent): readonly Member[] {
    const { user } = event;
    if (event.type === "member:removed") return list.filter((member) => member.user !== user);
    const { role } = event;
    if (list.some((member) => member.user === user)) {
      return list.map((member) => (member.user === user ? { ...member, role } : member));
    }
    // The page that is read next contains the members after the loaded ones.
    if (this.#next && user > this.#next.after) return list;
    return [...list, toMember({ ...event, joined_at: event.at })].sort((a, b) => (a.user < b.user ? -1 : 1));
  }
}

function toMember({ user, name, picture, role, joined_at }: MemberObject): Member {
  const joinedAt = Date.parse(joined_at ?? "") || undefined;
  return omitNullish({ user, name: name || undefined, picture: picture || undefined, role, joinedAt });
}
