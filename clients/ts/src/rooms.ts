import { backoff } from "./backoff.js";
import type { Core } from "./core.js";
import { asError, TidingsError } from "./errors.js";
import { query } from "./net/http.js";
import type { Entry } from "./outbox/entry.js";
import { FORMS, isEvent, must, only } from "./protocol/check.js";
import type { JoinedRoom, ServerFrame } from "./protocol/frames.js";
import type { Cursor, MyRoomObject } from "./protocol/objects.js";
import { Listing, removal } from "./room/listing.js";
import { RoomImpl } from "./room/room.js";
import { derived } from "./store.js";
import { tidy } from "./tidy.js";
import { insist, pause } from "./timers.js";
import type { RoomList, RoomListState } from "./types.js";

/** Rooms of one page of the list, and of one join. */
const BATCH = 200;
/** Rooms of one connection. */
const MOST = 1_000;

/** All rooms that are known: those of the list, and those that the app asked for. */
export class Rooms implements RoomList {
  readonly #core: Core;
  readonly #rooms = new Map<string, RoomImpl>();
  readonly #list = derived<RoomListState>(() => this.#make());
  #loaded = false;
  #next: string | null = null;
  #version: string | undefined;
  #error: TidingsError | undefined;
  #reloading: Promise<void> | undefined;
  #again = false;
  /** The life whose rooms are being joined. */
  #joining: number | undefined;
  /** The joins of several rooms that wait for their answers. */
  many: Promise<void> = Promise.resolve();
  #life = 0;
  #owner = 0;
  readonly get = this.#list.get;
  readonly subscribe = this.#list.subscribe;

  constructor(core: Core) {
    this.#core = core;
  }

  touch(): void {
    this.#list.touch();
  }

  room(id: string): RoomImpl {
    let room = this.#rooms.get(id);
    if (!room) {
      room = new RoomImpl(this.#core, id, this);
      this.#rooms.set(id, room);
    }
    return room;
  }

  readonly reload = (): Promise<void> => {
    this.#again = this.#reloading !== undefined;
    if (this.#reloading) return this.#reloading;
    const reloading = this.#reload().finally(() => {
      if (this.#reloading !== reloading) return;
      this.#reloading = undefined;
      if (this.#again) void this.reload().catch(() => {});
    });
    this.#reloading = reloading;
    return reloading;
  };

  readonly more = async (): Promise<void> => {
    if (this.#next === null) return;
    await this.#page(this.#next);
    this.#join();
  };

  /** Connected, also again. */
  up(version: string): void {
    // Nothing of another connection holds, also where one took over from the other.
    this.down();
    for (const room of this.#rooms.values()) {
      room.up();
      if (room.held && !room.error) room.log.follow();
    }
    if (this.#loaded && version === this.#version && version !== "unknown") this.#join();
    else void this.#first(this.#life);
  }

  /** Not connected, or with another node. `ended`: nobody will connect by themselves. */
  down(ended?: TidingsError): void {
    this.#life++;
    for (const room of this.#rooms.values()) room.down(ended);
  }

  /** Somebody else is here now. */
  forget(): void {
    for (const [id, room] of this.#rooms) {
      room.forget();
      if (!room.held) this.#rooms.delete(id);
    }
    this.#owner++;
    this.#reloading = undefined;
    this.#loaded = false;
    this.#error = undefined;
    this.#next = null;
    this.#list.touch();
  }

  /** Something of what waits to be sent is other now. */
  outboxChanged(id: string): void {
    this.#rooms.get(id)?.timeline.store.touch();
  }

  accepted(entry: Entry): void {
    this.#rooms.get(entry.room)?.timeline.accepted(entry);
  }

  frame(frame: ServerFrame): void {
    switch (frame.type) {
      case "room:joined":
        for (const info of only<JoinedRoom>(frame.rooms, FORMS.joined))
          this.room(info.room).log.onJoined(info);
        for (const { room, code } of only<{ room: string; code: string }>(frame.failed, FORMS.failed)) {
          this.#failed(room, code);
        }
        return;
      case "room:added":
        this.room(frame.room).added(frame);
        return;
      case "room:removed":
        this.#rooms.get(frame.room)?.removed(frame.seq);
        return;
      case "rooms:changed":
        if (frame.rooms_version !== this.#version) void this.reload().catch(() => {});
        return;
    }
    const name = (frame as { room?: unknown }).room;
    const room = typeof name === "string" ? this.#rooms.get(name) : undefined;
    if (!room || frame.type === "error") return;
    if (isEvent(frame)) room.log.onEvent(frame);
    else room.frame(frame);
  }

  /** One that was to be joined with others is not one's own, or cannot be had now. */
  #failed(id: string, code: string): void {
    const room = this.#rooms.get(id);
    if (!room) return;
    room.log.down();
    if (removal({ code })) room.removed(Number.POSITIVE_INFINITY);
    else {
      const life = this.#life;
      void pause(this.#core.env.timers, backoff(3, this.#core.env.random, 1_000)).done.then(() => {
        if (life === this.#life && !room.error) room.log.follow();
      });
    }
  }

  #make(): RoomListState {
    const items = [...this.#rooms.values()]
      .filter((room) => !room.error)
      .flatMap(({ listing }) => listing.summary.value ?? [])
      .sort((a, b) => b.updatedAt - a.updatedAt || (a.id < b.id ? -1 : 1));
    return tidy({ items, loaded: this.#loaded, hasMore: this.#next !== null, error: this.#error });
  }

  /** Reads the list, as long as it takes; until it can be had what the gateway knows is joined. */
  async #first(life: number): Promise<void> {
    const { env } = this.#core;
    let tried = this.#loaded;
    if (tried) this.#join();
    await insist(
      env,
      () => life === this.#life,
      this.reload,
      () => {
        if (!tried) void this.#joinMine();
        tried = true;
      },
    ).catch((error) => env.report(error));
  }

  async #reload(): Promise<void> {
    const told = await this.#page(undefined);
    // What is not in the whole list any more may have gone unnoticed.
    if (this.#next === null) {
      for (const room of this.#rooms.values()) {
        if (!told.has(room.id) && room.listing.summary.value && !room.error) void room.listing.refresh(0);
      }
    }
    this.#join();
  }

  async #page(cursor: string | undefined): Promise<Set<string>> {
    const told = new Set<string>();
    const owner = this.#owner;
    const { removals } = Listing;
    try {
      const page = await this.#core.http.send<{
        rooms: unknown;
        next?: string | null;
        rooms_version?: string;
      }>("GET", `/me/rooms${query({ limit: BATCH, cursor })}`);
      if (owner !== this.#owner) throw new TidingsError("disconnected");
      for (const object of only<MyRoomObject>(must(page, "rooms:a").rooms, FORMS.room)) {
        const room = this.room(object.room);
        told.add(object.room);
        // What was loaded for itself is further on, and so is what is followed.
        if (room.log.cursor === undefined || room.log.cursor.seq <= object.head.seq) {
          if (!room.listing.told(object, removals)) continue;
        } else void room.listing.refresh(room.log.cursor.seq);
        if (!room.held) room.log.begin(object.head);
      }
      this.#next = page.next ?? null;
      if (cursor === undefined) this.#version = page.rooms_version;
      this.#loaded = true;
      this.#error = undefined;
    } catch (thrown) {
      const error = asError(thrown);
      if (owner === this.#owner) this.#error = error;
      throw error;
    } finally {
      this.#list.touch();
    }
    return told;
  }

  /** Joins those of the list that are not joined, many with one frame. */
  #join(): void {
    const life = this.#life;
    if (this.#joining === life) return;
    this.#joining = life;
    void this.#joinAll(life).finally(() => {
      if (this.#joining === life) this.#joining = undefined;
    });
  }

  #ask(rooms: string[] | "mine", after: Cursors): Promise<ServerFrame> {
    const asked = this.#core.connection.request({ type: "room:join", rooms, after });
    const before = this.many;
    this.many = asked.then(
      () => before,
      () => before,
    );
    return asked;
  }

  async #joinAll(life: number): Promise<void> {
    const { connection, env } = this.#core;
    const alive = () => life === this.#life && connection.up;
    const at = (room: RoomImpl) => room.listing.summary.value?.updatedAt ?? 0;
    while (alive()) {
      const all = [...this.#rooms.values()].filter((room) => !room.error);
      const joined = all.filter((room) => room.log.joined || room.held).length;
      const wanted = all
        .filter((room) => !room.held && !room.log.joined && room.listing.summary.value)
        .sort((a, b) => at(b) - at(a))
        .slice(0, Math.max(0, Math.min(BATCH, MOST - joined)));
      if (!wanted.length) return;
      for (const { log } of wanted) log.joining();
      const rooms = wanted.map(({ id }) => id);
      try {
        await insist(env, alive, () => this.#ask(rooms, cursors(wanted)));
      } catch (thrown) {
        return env.report(thrown);
      }
      // What was neither joined nor refused would be asked for without end.
      if (wanted.every((room) => !room.log.joined && !room.error)) return;
    }
  }

  async #joinMine(): Promise<void> {
    await this.#ask("mine", cursors(this.#rooms.values())).catch(this.#core.env.report);
  }
}

type Cursors = { [room: string]: Cursor };

/** Where each of these rooms is to begin. */
function cursors(rooms: Iterable<RoomImpl>): Cursors {
  const after: Cursors = {};
  for (const { id, log } of rooms) if (log.cursor) after[id] = log.cursor;
  return after;
}
