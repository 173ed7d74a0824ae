import { backoffMs } from "./backoff.js";
import type { Core } from "./core.js";
import { asError, TidingsError } from "./errors.js";
import { ListHead, type ListPage } from "./list-head.js";
import { queryString } from "./net/http.js";
import { omitNullish } from "./omit-nullish.js";
import type { Entry } from "./outbox/entry.js";
import { assertShape, filterShape, isEvent, SHAPES } from "./protocol/check.js";
import type { JoinedRoom, ServerFrame } from "./protocol/frames.js";
import type { Cursor, MyRoomObject } from "./protocol/objects.js";
import { isRemoval, Listing } from "./room/listing.js";
import { RoomImpl } from "./room/room.js";
import { derived } from "./store.js";
import { pause, retryUntilDone } from "./timers.js";
import type { RoomList, RoomListState } from "./types.js";

/** The most rooms in one page of the list. */
const PAGE_SIZE = 200;
/** The most rooms in one join. */
const MAX_ROOMS_PER_JOIN = 200;
/** The most rooms that one connection may join. */
const MAX_JOINED_ROOMS = 1_000;

/** All rooms that the client knows: those in the user's list, and those for which the app has called `room()`. */
export class Rooms implements RoomList {
  readonly #core: Core;
  readonly #rooms = new Map<string, RoomImpl>();
  /** Closed rooms that are not in the list. `room()` returns the same object as long as the app still holds it. */
  readonly #forgotten = new Map<string, WeakRef<RoomImpl>>();
  readonly #list = derived<RoomListState>(() => this.#listState());
  #loaded = false;
  #nextCursor: string | null = null;
  /** The time of the last room before `#nextCursor`; 0 if there is no further page. @internal */
  endTime = 0;
  readonly #head: ListHead;
  #roomsVersion: string | undefined;
  #error: TidingsError | undefined;
  #reloading: Promise<void> | undefined;
  #reloadQueued = false;
  /** The connection (a value of `#generation`) whose rooms are being joined, if any. */
  #joining: number | undefined;
  /** Resolves when all joins of several rooms have been answered, or have waited too long for their answers. */
  joins: Promise<void> = Promise.resolve();
  /**
   * The cursors at which the joins of this connection continue, by `ref`, until they are answered. `joins` may resolve
   * before.
   */
  readonly #sentCursors = new Map<string, Cursors>();
  #joinCount = 0;
  #generation = 0;
  #userGeneration = 0;
  readonly get = this.#list.get;
  readonly subscribe = this.#list.subscribe;
  /** Must be called when the list entry of a room has changed. */
  readonly refresh = this.#list.refresh;

  constructor(core: Core) {
    this.#core = core;
    this.#head = new ListHead(core.env, this);
  }

  room(id: string): RoomImpl {
    let room = this.#rooms.get(id);
    if (!room) {
      room = this.#forgotten.get(id)?.deref() ?? new RoomImpl(this.#core, id, this);
      this.keep(room);
    }
    return room;
  }

  /** Keeps a room in the list of known rooms. */
  keep(room: RoomImpl): void {
    this.#forgotten.delete(room.id);
    this.#rooms.set(room.id, room);
  }

  /** Keeps only a weak reference to a closed room that is `forgettable`, so that its memory can be freed. */
  closed(room: RoomImpl): void {
    if (!room.forgettable || typeof WeakRef === "undefined") return;
    this.#rooms.delete(room.id);
    for (const [id, held] of this.#forgotten) if (!held.deref()) this.#forgotten.delete(id);
    this.#forgotten.set(room.id, new WeakRef(room));
  }

  /** Closes the rooms that the app has released, because the client closes. */
  close(): void {
    for (const room of [...this.#rooms.values()]) room.endLinger();
  }

  readonly reload = (): Promise<void> => {
    this.#reloadQueued = this.#reloading !== undefined;
    if (this.#reloading) return this.#reloading;
    const reloading = this.#reload().finally(() => {
      if (this.#reloading !== reloading) return;
      this.#reloading = undefined;
      if (this.#reloadQueued) void this.reload().catch(() => {});
    });
    this.#reloading = reloading;
    return reloading;
  };

  readonly more = async (): Promise<void> => {
    if (this.#nextCursor === null) return;
    await this.readPage(this.#nextCursor, true);
    // Before its page was read, a room with new activity may have moved to the head of the list. The end stays, so that
    // each call reads a further page.
    await this.#head.read(true);
  };

  /** Joins all rooms after a connect. Reads the list again unless its `version` is still the same. */
  up(version: string, spreadMs?: number): void {
    // Stops all work that an earlier connection started.
    this.down();
    for (const room of this.#rooms.values()) {
      room.up();
      if (room.opened && !room.error) room.log.follow();
    }
    if (this.#loaded && version === this.#roomsVersion && version !== "unknown") {
      this.#join();
      // The activity of rooms that are not joined has no replay.
      this.#head.schedule(0);
    } else void this.#loadUntilDone(spreadMs);
  }

  /** Stops the work of a lost connection. `ended` is set if the kit will not reconnect by itself. */
  down(ended?: TidingsError): void {
    this.#generation++;
    this.#sentCursors.clear();
    this.#head.stop();
    for (const room of this.#rooms.values()) room.down(ended);
  }

  /** Drops the list and the state of the earlier user, because another user has connected. */
  userChanged(): void {
    for (const [id, room] of this.#rooms) {
      room.userChanged();
      if (!room.opened) this.#rooms.delete(id);
    }
    for (const held of this.#forgotten.values()) held.deref()?.userChanged();
    this.#userGeneration++;
    this.#reloading = undefined;
    this.#loaded = false;
    this.#error = undefined;
    this.#nextCursor = null;
    this.#list.refresh();
  }

  /** Updates the rows of a room after a change of its messages in the outbox. */
  outboxChanged(id: string): void {
    this.#rooms.get(id)?.timeline.store.refresh();
  }

  /** Shows a message at the position that the server gave it, before the event of the message arrives. */
  accepted(entry: Entry): void {
    this.#rooms.get(entry.room)?.timeline.accepted(entry);
  }

  handleFrame(frame: ServerFrame): void {
    const { ref = "" } = frame as { ref?: string };
    const after = this.#sentCursors.get(ref);
    this.#sentCursors.delete(ref);
    switch (frame.type) {
      case "room:joined":
        for (const info of filterShape<JoinedRoom>(frame.rooms, SHAPES.joined))
          this.room(info.room).log.onJoined(info, after?.[info.room]);
        for (const { room, code } of filterShape<{ room: string; code: string }>(
          frame.failed,
          SHAPES.failed,
        )) {
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
        if (frame.rooms_version !== this.#roomsVersion) void this.#loadUntilDone(frame.spread_ms);
        return;
      case "room:activity":
        void this.#activity(frame);
        return;
      case "rooms:activity":
        this.#head.schedule(frame.after_ms);
        return;
    }
    const room = this.#rooms.get((frame as { room: string }).room);
    if (isEvent(frame)) room?.log.onFrame(frame);
    else room?.handleFrame(frame);
  }

  /** Handles a room that could not be joined: removes it, or joins it again after a pause. */
  #failed(id: string, code: string): void {
    const room = this.#rooms.get(id);
    if (!room) return;
    room.log.down(true);
    if (isRemoval({ code })) room.removed(Number.POSITIVE_INFINITY);
    else {
      const generation = this.#generation;
      void pause(this.#core.env.timers, backoffMs(3, this.#core.env.random, 1_000)).done.then(() => {
        if (generation === this.#generation && !room.error) room.log.follow();
      });
    }
  }

  #listState(): RoomListState {
    const items = [...this.#rooms.values()]
      .filter((room) => !room.error)
      .flatMap(({ listing }) => listing.summary.value ?? [])
      .sort((a, b) => b.updatedAt - a.updatedAt || (a.id < b.id ? -1 : 1));
    return omitNullish({
      items,
      loaded: this.#loaded,
      hasMore: this.#nextCursor !== null,
      error: this.#error,
    });
  }

  /**
   * Reads the list, with retries. After the first failure the kit joins `mine` (the rooms that the gateway knows for
   * the user), so that messages arrive without the list. A list that is loaded is read at a random moment within
   * `spreadMs`, so that not all clients read at once.
   */
  async #loadUntilDone(spreadMs = 0): Promise<void> {
    const { env } = this.#core;
    const generation = this.#generation;
    let tried = this.#loaded;
    if (tried) {
      this.#join();
      await pause(env.timers, env.random() * spreadMs).done;
    }
    await retryUntilDone(
      env,
      () => generation === this.#generation,
      this.reload,
      () => {
        if (!tried) void this.#joinMany("mine", this.#rooms.values()).catch(env.report);
        tried = true;
      },
    ).catch((error) => env.report(error));
  }

  /**
   * Reads a room that is not joined and has events for the user. Then joins it, with a cursor before these events. If
   * no further room can be joined, one read of the head of the list shows the activity of all such rooms.
   */
  async #activity(frame: Extract<ServerFrame, { type: "room:activity" }>): Promise<void> {
    const { log, listing, opened } = this.room(frame.room);
    if (log.joined || opened) return;
    log.cursor ??= frame.from;
    if (this.#joinable() <= 0) return this.#head.schedule(1_000);
    await listing.refresh(frame.seq);
    this.#join();
  }

  async #reload(): Promise<void> {
    const page = await this.readPage(undefined, true);
    this.#roomsVersion = page.version;
    this.#head.time = page.newest;
    const seen = new Set(page.ids);
    // The user may have left a known room that is missing in the complete list, so the kit reads this room again.
    if (this.#nextCursor === null) {
      for (const room of this.#rooms.values()) {
        if (!seen.has(room.id) && room.listing.summary.value && !room.error) void room.listing.refresh(0);
      }
    }
    this.#join();
  }

  /** Whether the kit is connected, and may not have read, or not join, all rooms of the list. @internal */
  get isPartial(): boolean {
    return this.#core.connection.up && (this.#nextCursor !== null || this.#rooms.size > MAX_JOINED_ROOMS);
  }

  /** @internal */
  continueAfter({ next, oldest }: ListPage): void {
    this.#nextCursor = next;
    this.endTime = next === null ? 0 : oldest;
    this.#list.refresh();
  }

  /** @internal */
  headRead(): void {
    this.#join();
  }

  /**
   * Reads a page of the list, by default the first, and updates its rooms. `isNew` says that `more` continues after
   * this page. @internal
   */
  async readPage(cursor?: string, isNew = false): Promise<ListPage> {
    const userGeneration = this.#userGeneration;
    const { removals } = Listing;
    try {
      const page = await this.#core.http<{
        rooms: unknown;
        next?: string | null;
        rooms_version?: string;
      }>("GET", `/me/rooms${queryString({ limit: PAGE_SIZE, cursor })}`);
      if (userGeneration !== this.#userGeneration) throw new TidingsError("disconnected");
      const objects = filterShape<MyRoomObject>(assertShape(page, "rooms:a").rooms, SHAPES.room);
      let hasUnchanged = false;
      for (const object of objects) {
        const room = this.room(object.room);
        // Events keep a joined room current.
        if (!isNew && room.log.joined) continue;
        const time = timeOf(object);
        // A room that was read alone since the last read says nothing about those below it.
        hasUnchanged ||= time <= this.#head.time && room.listing.summary.value?.updatedAt === time;
        // The room may be newer than the list, because it was read separately or because its log is followed.
        if (room.log.cursor === undefined || room.log.cursor.seq <= object.head.seq) {
          if (!room.listing.applyRoom(object, removals)) continue;
        } else void room.listing.refresh(room.log.cursor.seq);
        if (!room.opened) room.log.cursor ??= object.head;
      }
      const { next = null, rooms_version: version } = page;
      const oldest = timeOf(objects.at(-1));
      const ids = objects.map(({ room }) => room);
      const read = { ids, version, newest: timeOf(objects[0]), oldest, hasUnchanged, next };
      if (isNew) this.continueAfter(read);
      this.#loaded = true;
      this.#error = undefined;
      return read;
    } catch (thrown) {
      const error = asError(thrown);
      if (userGeneration === this.#userGeneration) this.#error = error;
      throw error;
    } finally {
      this.#list.refresh();
    }
  }

  /** Joins the rooms of the list that are not joined yet, with up to `MAX_ROOMS_PER_JOIN` rooms in one frame. */
  #join(): void {
    this.#head.schedule();
    const generation = this.#generation;
    if (this.#joining === generation) return;
    this.#joining = generation;
    void this.#joinAll(generation).finally(() => {
      if (this.#joining === generation) this.#joining = undefined;
    });
  }

  /**
   * Called before one more room is joined. Leaves the room with the oldest activity that the app has not opened, if the
   * connection may join no further room.
   */
  makeSpace(): void {
    const followed = [...this.#rooms.values()].filter(({ log }) => log.phase !== "off");
    if (followed.length <= MAX_JOINED_ROOMS) return;
    const [oldest] = followed
      .filter(({ log, opened }) => log.joined && !opened)
      .sort((a, b) => updatedAt(a) - updatedAt(b));
    if (!oldest) return;
    oldest.log.down();
    this.#core.connection.send({ type: "room:leave", room: oldest.id });
  }

  /** Joins one room or several. The `known` ones of them continue at their cursors. @internal */
  requestJoin(
    target: { room: string } | { rooms: string[] | "mine" },
    known: Iterable<RoomImpl>,
  ): Promise<ServerFrame> {
    const cursors: Cursors = {};
    for (const { id, log } of known) if (log.cursor) cursors[id] = log.cursor;
    const ref = `join-${++this.#joinCount}`;
    this.#sentCursors.set(ref, cursors);
    const after = "room" in target ? cursors[target.room] : cursors;
    return this.#core.connection.request(omitNullish({ type: "room:join", ...target, after } as const), ref);
  }

  #joinMany(rooms: string[] | "mine", known: Iterable<RoomImpl>): Promise<ServerFrame> {
    const answer = this.requestJoin({ rooms }, known);
    const earlier = this.joins;
    this.joins = answer.then(
      () => earlier,
      () => earlier,
    );
    return answer;
  }

  /** How many more rooms the connection may join. */
  #joinable(): number {
    const joined = [...this.#rooms.values()].filter(
      (room) => !room.error && (room.log.joined || room.opened),
    );
    return MAX_JOINED_ROOMS - joined.length;
  }

  async #joinAll(generation: number): Promise<void> {
    const { connection, env } = this.#core;
    const alive = () => generation === this.#generation && connection.up;
    while (alive()) {
      const wanted = [...this.#rooms.values()]
        .filter(
          ({ error, opened, log, listing }) => !error && !opened && !log.joined && listing.summary.value,
        )
        .sort((a, b) => updatedAt(b) - updatedAt(a))
        .slice(0, Math.max(0, Math.min(MAX_ROOMS_PER_JOIN, this.#joinable())));
      if (!wanted.length) return;
      for (const { log } of wanted) log.joinPending();
      const rooms = wanted.map(({ id }) => id);
      try {
        await retryUntilDone(env, alive, () => this.#joinMany(rooms, wanted));
      } catch (thrown) {
        return env.report(thrown);
      }
      // If no room was joined or refused, the next join would be the same, and the loop would never end.
      if (wanted.every((room) => !room.log.joined && !room.error)) return;
    }
  }
}

const updatedAt = (room: RoomImpl) => room.listing.summary.value?.updatedAt ?? 0;

type Cursors = { [room: string]: Cursor };

const timeOf = (object?: MyRoomObject) => Date.parse(object?.updated_at as string) || 0;
