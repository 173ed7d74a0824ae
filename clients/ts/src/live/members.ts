import { query } from "../net/http.js";
import type { Part } from "../part.js";
import { FORMS, only } from "../protocol/check.js";
import type { LogEvent, MemberEvent } from "../protocol/frames.js";
import type { Member } from "../protocol/objects.js";
import type { RoomImpl } from "../room/room.js";
import { cell } from "../store.js";
import { Alarm } from "../timers.js";
import type { Members } from "../types.js";

const PAGE = 200;
/** An event tells of a newcomer without their name: those of this time are read together, in milliseconds. */
const NAMES_MS = 1_000;
const LONGEST_MS = 30_000;
/** Events kept, so that what storage told a moment ago can be brought up to now. */
const RECENT = 200;

/** Who is in a room: read on demand, then kept true by events. */
export class MembersPart implements Part, Members {
  readonly #store = cell<readonly Member[] | undefined>(undefined);
  readonly #room: RoomImpl;
  readonly #names: Alarm;
  #loading: Promise<readonly Member[]> | undefined;
  #recent: MemberEvent[] = [];
  /** Who was added and is not read yet. */
  readonly #newcomers = new Set<string>();
  readonly get = this.#store.get;
  readonly subscribe = this.#store.subscribe;

  constructor(room: RoomImpl) {
    this.#room = room;
    this.#names = new Alarm(room.core.env.timers);
  }

  readonly load = (): Promise<readonly Member[]> => {
    if (this.#loading) return this.#loading;
    const loading = this.#read().finally(() => {
      if (this.#loading === loading) this.#loading = undefined;
    });
    this.#loading = loading;
    return loading;
  };

  /** Events were missed: what is held is read again. */
  missed(): void {
    this.#recent = [];
    if (this.get()) this.#room.quietly(this.load);
  }

  event(event: LogEvent): void {
    if (!("user" in event)) return;
    this.#recent = [...this.#recent, event].slice(-RECENT);
    if (event.type === "member:removed") this.#newcomers.delete(event.user);
    const list = this.get();
    if (!list) return;
    this.#store.set(changed(list, event));
    if (event.type !== "member:added") return;
    this.#newcomers.add(event.user);
    if (!this.#names.on) this.#nameIn(NAMES_MS);
  }

  /** Who was not read yet still is to be. */
  joined(): void {
    if (this.#newcomers.size) this.#nameIn(NAMES_MS);
  }

  down(): void {
    this.#names.clear();
  }

  /** Somebody else asks from now on. */
  forget(): void {
    this.#newcomers.clear();
    this.#loading = undefined;
    this.#recent = [];
    this.#store.set(undefined);
  }

  /** Reads again who newcomers are, until storage knows all of them. */
  #nameIn(ms: number): void {
    this.#names.set(ms, () => {
      const { core } = this.#room;
      core
        .limit(this.load)
        .catch((thrown) => core.env.report(thrown))
        .then(() => {
          const { up } = core.connection;
          if (up && this.#newcomers.size && !this.#names.on && ms < LONGEST_MS) this.#nameIn(2 * ms);
        });
    });
  }

  async #read(): Promise<readonly Member[]> {
    let list: readonly Member[] = [];
    let cursor: string | undefined;
    do {
      const page = await this.#room.read<{ members: unknown; next?: string | null }>(
        `/members${query({ limit: PAGE, cursor })}`,
      );
      list = [...list, ...only<Member>(page?.members, FORMS.member)];
      cursor = page?.next ?? undefined;
    } while (cursor);
    for (const { user } of list) this.#newcomers.delete(user);
    // Storage may not have come so far as the events; told once more one changes nothing.
    for (const event of this.#recent) list = changed(list, event);
    this.#store.set(list);
    return list;
  }
}

function changed(list: readonly Member[], event: MemberEvent): readonly Member[] {
  const { user } = event;
  if (event.type === "member:removed") return list.filter((member) => member.user !== user);
  const { role } = event;
  if (!list.some((member) => member.user === user)) {
    return [...list, { user, role, joined_at: event.at }].sort((a, b) => (a.user < b.user ? -1 : 1));
  }
  return list.map((member) => (member.user === user ? { ...member, role } : member));
}
