import type { Core } from "./core.js";
import type { TidingsError } from "./errors.js";
import { Joins } from "./joins.js";
import type { Entry } from "./outbox/entry.js";
import { isEvent } from "./protocol/check.js";
import type { ServerFrame } from "./protocol/frames.js";
import { RoomImpl } from "./room/room.js";
import { MyRooms } from "./room-list.js";

/** All rooms that the client knows: those in the user's list, and those for which the app has called `room()`. */
export class Rooms {
  readonly all = new Map<string, RoomImpl>();
  readonly joins: Joins;
  readonly list: MyRooms;
  readonly #core: Core;
  /** Closed rooms that are not in the list. `room()` returns the same object as long as the app still holds it. */
  readonly #forgotten = new Map<string, WeakRef<RoomImpl>>();

  constructor(core: Core) {
    this.#core = core;
    this.joins = new Joins(core, this);
    this.list = new MyRooms(core, this);
  }

  room(id: string): RoomImpl {
    let room = this.all.get(id);
    if (!room) {
      room = this.#forgotten.get(id)?.deref() ?? new RoomImpl(this.#core, id, this);
      this.keep(room);
    }
    return room;
  }

  /** Keeps a room among the known rooms. */
  keep(room: RoomImpl): void {
    this.#forgotten.delete(room.id);
    this.all.set(room.id, room);
  }

  /** Keeps only a weak reference to a closed room that is `forgettable`, so that its memory can be freed. */
  closed(room: RoomImpl): void {
    if (!room.forgettable || typeof WeakRef === "undefined") return;
    this.all.delete(room.id);
    for (const [id, held] of this.#forgotten) if (!held.deref()) this.#forgotten.delete(id);
    this.#forgotten.set(room.id, new WeakRef(room));
  }

  /** Closes the rooms that the app has released, because the client closes. */
  close(): void {
    for (const room of [...this.all.values()]) room.endLinger();
  }

  /** Joins all rooms after a connect. Reads the list again unless its `version` is still the same. */
  up(version: string, spreadMs?: number): void {
    // Stops all work that an earlier connection started.
    this.down();
    for (const room of this.all.values()) {
      room.up();
      if (room.opened && !room.error) room.log.follow();
    }
    this.list.up(version, spreadMs);
  }

  /** Stops the work of a lost connection. `ended` is set if the kit will not reconnect by itself. */
  down(ended?: TidingsError): void {
    this.joins.down();
    this.list.down();
    for (const room of this.all.values()) room.down(ended);
  }

  /** Drops the list and the state of the earlier user, because another user has connected. */
  userChanged(): void {
    for (const [id, room] of this.all) {
      room.userChanged();
      if (!room.opened) this.all.delete(id);
    }
    for (const held of this.#forgotten.values()) held.deref()?.userChanged();
    this.list.userChanged();
  }

  /** Updates the rows of a room after a change of its messages in the outbox. */
  outboxChanged(id: string): void {
    this.all.get(id)?.timeline.store.refresh();
  }

  /** Shows a message at the position that the server gave it, before the event of the message arrives. */
  accepted(entry: Entry): void {
    this.all.get(entry.room)?.timeline.accepted(entry);
  }

  handleFrame(frame: ServerFrame): void {
    const cursors = this.joins.takeCursors((frame as { ref?: string }).ref);
    switch (frame.type) {
      case "room:joined":
        this.joins.answered(frame, cursors);
        return;
      case "room:added":
        this.room(frame.room).added(frame);
        return;
      case "room:removed":
        this.all.get(frame.room)?.removed(frame.seq);
        return;
      case "rooms:changed":
        this.list.changed(frame.rooms_version, frame.spread_ms);
        return;
      case "room:activity":
        void this.list.activity(frame);
        return;
      case "rooms:activity":
        this.list.scheduleHead(frame.after_ms);
        return;
    }
    const room = this.all.get((frame as { room: string }).room);
    if (isEvent(frame)) room?.log.onFrame(frame);
    else room?.handleFrame(frame);
  }
}
