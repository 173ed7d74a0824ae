import { backoffMs } from "./backoff.js";
import type { Core } from "./core.js";
import { omitNullish } from "./omit-nullish.js";
import { filterShape, SHAPES } from "./protocol/check.js";
import type { JoinedRoom, ServerFrame } from "./protocol/frames.js";
import type { Cursor } from "./protocol/objects.js";
import { isRemoval } from "./room/listing.js";
import type { RoomImpl } from "./room/room.js";
import type { Rooms } from "./rooms.js";
import { pause, retryUntilDone } from "./timers.js";

/** The most rooms in one join. */
const MAX_ROOMS_PER_JOIN = 200;
/** The most rooms that one connection may join. */
export const MAX_JOINED_ROOMS = 1_000;

type Cursors = { [room: string]: Cursor };

/** Joins rooms on the connection. */
export class Joins {
  /** Resolves when all joins of several rooms have been answered, or have waited too long for their answers. */
  settled: Promise<void> = Promise.resolve();
  /** Changes with each connection, so that work for an earlier connection stops. */
  generation = 0;
  readonly #core: Core;
  readonly #rooms: Rooms;
  /** The connection (a value of `generation`) whose rooms are being joined, if any. */
  #joining: number | undefined;
  /**
   * The cursors at which the joins of this connection continue, by `ref`, until they are answered. `settled` may
   * resolve before.
   */
  readonly #sentCursors = new Map<string, Cursors>();
  #count = 0;

  constructor(core: Core, rooms: Rooms) {
    this.#core = core;
    this.#rooms = rooms;
  }

  /** Forgets the joins of a lost connection. */
  down(): void {
    this.generation++;
    this.#sentCursors.clear();
  }

  /** Returns the cursors that were sent with a join, when a frame answers it. */
  takeCursors(ref = ""): Cursors | undefined {
    const cursors = this.#sentCursors.get(ref);
    this.#sentCursors.delete(ref);
    return cursors;
  }

  /** Handles the answer to a join with these cursors. */
  answered(frame: Extract<ServerFrame, { type: "room:joined" }>, after?: Cursors): void {
    for (const info of filterShape<JoinedRoom>(frame.rooms, SHAPES.joined))
      this.#rooms.room(info.room).log.onJoined(info, after?.[info.room]);
    for (const { room, code } of filterShape<{ room: string; code: string }>(frame.failed, SHAPES.failed))
      this.#failed(this.#rooms.all.get(room), code);
  }

  /** Handles a room that could not be joined: removes it, or joins it again after a pause. */
  #failed(room: RoomImpl | undefined, code: string): void {
    if (!room) return;
    room.log.down(true);
    if (isRemoval({ code })) room.removed(Number.POSITIVE_INFINITY);
    else {
      const { generation } = this;
      void pause(this.#core.env.timers, backoffMs(3, this.#core.env.random, 1_000)).done.then(() => {
        if (generation === this.generation && !room.error) room.log.follow();
      });
    }
  }

  /** Joins the rooms of the list that are not joined yet, with up to `MAX_ROOMS_PER_JOIN` rooms in one frame. */
  joinListed(): void {
    const { generation } = this;
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
    const followed = [...this.#rooms.all.values()].filter(({ log }) => log.phase !== "off");
    if (followed.length <= MAX_JOINED_ROOMS) return;
    const [oldest] = followed
      .filter(({ log, opened }) => log.joined && !opened)
      .sort((a, b) => updatedAt(a) - updatedAt(b));
    if (!oldest) return;
    oldest.log.down();
    this.#core.connection.send({ type: "room:leave", room: oldest.id });
  }

  /** Joins one or several rooms. Those in `known` continue at their cursors. */
  request(
    target: { room: string } | { rooms: string[] | "mine" },
    known: Iterable<RoomImpl>,
  ): Promise<ServerFrame> {
    const cursors: Cursors = {};
    for (const { id, log } of known) if (log.cursor) cursors[id] = log.cursor;
    const ref = `join-${++this.#count}`;
    this.#sentCursors.set(ref, cursors);
    const after = "room" in target ? cursors[target.room] : cursors;
    return this.#core.connection.request(omitNullish({ type: "room:join", ...target, after } as const), ref);
  }

  requestMany(rooms: string[] | "mine", known: Iterable<RoomImpl>): Promise<ServerFrame> {
    const answer = this.request({ rooms }, known);
    const earlier = this.settled;
    this.settled = answer.then(
      () => earlier,
      () => earlier,
    );
    return answer;
  }

  /** How many more rooms the connection may join. */
  get space(): number {
    const joined = [...this.#rooms.all.values()].filter(
      (room) => !room.error && (room.log.joined || room.opened),
    );
    return MAX_JOINED_ROOMS - joined.length;
  }

  async #joinAll(generation: number): Promise<void> {
    const { connection, env } = this.#core;
    const alive = () => generation === this.generation && connection.up;
    while (alive()) {
      const wanted = [...this.#rooms.all.values()]
        .filter(
          ({ error, opened, log, listing }) => !error && !opened && !log.joined && listing.summary.value,
        )
        .sort((a, b) => updatedAt(b) - updatedAt(a))
        .slice(0, Math.max(0, Math.min(MAX_ROOMS_PER_JOIN, this.space)));
      if (!wanted.length) return;
      for (const { log } of wanted) log.joinPending();
      const rooms = wanted.map(({ id }) => id);
      try {
        await retryUntilDone(env, alive, () => this.requestMany(rooms, wanted));
      } catch (thrown) {
        return env.report(thrown);
      }
      // If no room was joined or refused, the next join would be the same, and the loop would never end.
      if (wanted.every((room) => !room.log.joined && !room.error)) return;
    }
  }
}

const updatedAt = (room: RoomImpl) => room.listing.summary.value?.updatedAt ?? 0;
