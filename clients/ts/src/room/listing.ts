import { asError } from "../errors.js";
import { FORMS, only } from "../protocol/check.js";
import type { JoinedRoom } from "../protocol/frames.js";
import type { Member, MyRoomObject } from "../protocol/objects.js";
import { tidy } from "../tidy.js";
import { pause } from "../timers.js";
import { Mark } from "./mark.js";
import type { RoomImpl } from "./room.js";
import { Summary } from "./summary.js";

/** Marks are told together within these times, in milliseconds. */
const READ_MS = 250;
const DELIVERED_MS = 600;
const SPREAD_MS = 5_000;
/** How often is asked for what is not told yet, and the first pause, in milliseconds: each twice the one before. */
const TRIES = 8;
const PAUSE_MS = 500;

/** Whether a room is not one's own, and not just out of reach. */
export const removal = ({ code }: { readonly code: string }) => code === "not_found" || code === "forbidden";

/** What the list shows of a room, and one's own marks in it: kept true by events, and read again where they cannot. */
export class Listing {
  /** Counts removals of all rooms: what was asked for before one of them does not tell of the time after it. */
  static removals = 0;
  summary!: Summary;
  readonly #room: RoomImpl;
  readonly #read: Mark;
  readonly #delivered: Mark;
  #removal = 0;
  /** Who is in the direct room is being read, or was. */
  #peering = false;
  #refreshing: number | undefined;
  /** What is being read may be older than what is to be known. */
  #stale = false;
  /** Differs once somebody else is here: what was asked for before is not theirs. */
  #owner = 0;

  constructor(room: RoomImpl) {
    const { core, id } = room;
    this.#room = room;
    this.#read = new Mark(core, "message:read", id, READ_MS, () => this.#counted());
    this.#delivered = new Mark(core, "message:delivered", id, DELIVERED_MS, () => {});
    this.begin();
  }

  /** Marks, and what is told of the room, begin anew with each membership. */
  begin(): void {
    this.#read.forget();
    this.#delivered.forget();
    this.#renew();
  }

  /** Somebody else is here now. */
  forget(): void {
    this.#owner++;
    this.#refreshing = undefined;
    this.begin();
  }

  /** There is a connection: what was not known to be told is told. */
  up(): void {
    this.#read.up();
    this.#delivered.up();
  }

  down(): void {
    this.#read.stop();
    this.#delivered.stop();
  }

  /** It is not one's own any more. */
  removed(): void {
    this.#removal = ++Listing.removals;
    this.#read.forget();
    this.#delivered.forget();
  }

  /** One has read all up to here. */
  markRead(seq: number): void {
    this.#read.move(seq);
    this.#readTo(seq);
  }

  /** A message has reached one. */
  reached(seq: number): void {
    this.#delivered.move(seq);
  }

  /** The server has one's own mark here, whoever moved it. */
  marked(type: string, seq: number): void {
    if (type === "receipt:read") {
      this.#read.moved(seq);
      this.#readTo(seq);
      this.#counted();
    } else this.#delivered.moved(seq);
  }

  /** What the answer to a join tells. */
  joined({ room, kind, name, role, members, read_seq }: Partial<JoinedRoom>): void {
    if (kind) this.summary.hint({ room, kind, name, role, members } as Partial<MyRoomObject>);
    if (read_seq !== undefined) this.marked("receipt:read", read_seq);
  }

  /**
   * What HTTP told of this room. False when it is of no use any more.
   * @param asked `removals` when it was asked for
   */
  told(object: MyRoomObject, asked: number): boolean {
    const room = this.#room;
    const back = room.error;
    if (back && removal(back)) {
      if (asked < this.#removal) return false;
      this.#renew();
    }
    room.error = undefined;
    const whole = this.summary.read(object);
    // The mark that the server was told of before counts once its answers know of it.
    if (!whole || (this.summary.unsure && object.read_seq < this.#read.known)) this.#recount();
    this.#read.moved(object.read_seq);
    // What lay there before has reached one now; not all rooms say so in one moment.
    const { unread, lastMessage } = this.summary.value ?? {};
    if (unread && lastMessage) this.#delivered.move(lastMessage.seq ?? 0, room.core.env.random() * SPREAD_MS);
    this.findPeer();
    room.show();
    if (back && room.held && room.core.connection.up) room.log.follow();
    return true;
  }

  /** Reads again what the list shows, until it tells of this position. */
  async refresh(upto: number): Promise<void> {
    const room = this.#room;
    const asked = this.#refreshing;
    this.#refreshing = Math.max(asked ?? 0, upto);
    if (asked !== undefined) return;
    const { env } = room.core;
    const owner = this.#owner;
    const alive = () => owner === this.#owner;
    try {
      for (let tries = 0; tries < TRIES && alive(); tries++) {
        const wanted: number = this.#refreshing ?? 0;
        this.#stale = false;
        const { removals } = Listing;
        const object = await room.insist<MyRoomObject>(alive, FORMS.room, () => "");
        if (!object) return;
        if (object.role !== null) {
          if (!this.told(object, removals)) break;
          room.log.begin(object.head);
          if (object.head.seq >= wanted && wanted === this.#refreshing && !this.#stale) break;
        }
        await pause(env.timers, PAUSE_MS * 2 ** tries).done;
      }
    } catch (thrown) {
      const error = asError(thrown);
      if (!alive()) return;
      if (error.code === "not_found" && !room.log.joined) room.failed(error);
      else if (!room.error) env.report(error);
    } finally {
      if (alive()) this.#refreshing = undefined;
    }
  }

  /** Looks who the other one of a direct room is; who asks shows it. */
  findPeer(): void {
    const room = this.#room;
    const { summary } = this;
    const { kind, peer, lastMessage } = summary.value ?? {};
    if (kind !== "direct" || peer?.name) return;
    const me = room.core.me()?.id;
    const last = lastMessage?.sender;
    if (last && last.id !== me) summary.peer(tidy({ user: last.id, name: last.name }));
    else if (!this.#peering && (room.held || !peer)) {
      // Only the list of its two members tells.
      this.#peering = true;
      room.quietly(async () => {
        let other: Member | undefined;
        try {
          const page = await room.read<{ members?: unknown }>("/members");
          other = only<Member>(page?.members, FORMS.member).find(({ user }) => user !== me);
        } finally {
          this.#peering = !!other;
        }
        if (other) summary.peer(tidy({ user: other.user, name: other.name ?? undefined }));
        room.show();
      });
    }
  }

  #renew(): void {
    this.#peering = false;
    this.summary = new Summary(() => this.#room.core.me()?.id);
  }

  #readTo(seq: number): void {
    this.summary.readTo(seq);
    this.#room.show();
  }

  /** The server knows the mark: what is unread can be asked for where it is not known. */
  #counted(): void {
    if (this.summary.unsure) this.#recount();
  }

  /** Reads again what the list shows, also where that is under way. */
  #recount(): void {
    this.#stale = true;
    void this.refresh(0);
  }
}
