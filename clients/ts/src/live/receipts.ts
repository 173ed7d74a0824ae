import type { Part } from "../part.js";
import { FORMS, only } from "../protocol/check.js";
import type { LogEvent, ServerFrame } from "../protocol/frames.js";
import type { ReceiptObject } from "../protocol/objects.js";
import type { RoomImpl } from "../room/room.js";
import { cell } from "../store.js";
import type { Receipt, Store } from "../types.js";

const NONE: Receipt = { readSeq: 0, deliveredSeq: 0 };

/** How far each member has come, while the room is open. Marks never move back. */
export class ReceiptsPart implements Part, Store<ReadonlyMap<string, Receipt>> {
  readonly #store = cell<ReadonlyMap<string, Receipt>>(new Map());
  readonly #room: RoomImpl;
  /** Differs once somebody else is here. */
  #turn = 0;
  readonly get = this.#store.get;
  readonly subscribe = this.#store.subscribe;

  constructor(room: RoomImpl) {
    this.#room = room;
    if (room.log.joined) this.joined();
  }

  /** Reads all of them: in no order with what is pushed. */
  joined(): void {
    const room = this.#room;
    const turn = this.#turn;
    if (!room.held) return;
    room.quietly(async () => {
      const answer = await room.read<{ receipts?: unknown }>("/receipts");
      if (!room.held || turn !== this.#turn) return;
      const list = only<ReceiptObject>(answer?.receipts, "user read_seq:n delivered_seq:n");
      this.#move(
        list.map(({ user, read_seq, delivered_seq }) => [
          user,
          { readSeq: read_seq, deliveredSeq: delivered_seq },
        ]),
      );
    });
  }

  frame(frame: ServerFrame): void {
    if ((frame.type !== "receipt:read" && frame.type !== "receipt:delivered") || !this.#room.held) return;
    const kind = frame.type === "receipt:read" ? "readSeq" : "deliveredSeq";
    const marks = only<{ user: string; seq: number }>(frame.marks, FORMS.mark);
    this.#move(marks.map(({ user, seq }) => [user, { ...NONE, [kind]: seq }]));
  }

  /** Who comes back begins anew. */
  event(event: LogEvent): void {
    if (event.type !== "member:removed" || !this.get().has(event.user)) return;
    const map = new Map(this.get());
    map.delete(event.user);
    this.#store.set(map);
  }

  closed(): void {
    if (this.get().size) this.#store.set(new Map());
  }

  forget(): void {
    this.#turn++;
    this.closed();
  }

  #move(marks: [string, Receipt][]): void {
    const map = new Map(this.get());
    let changed = false;
    for (const [user, mark] of marks) {
      const before = map.get(user) ?? NONE;
      const readSeq = Math.max(before.readSeq, mark.readSeq);
      // What somebody has read has reached them.
      const deliveredSeq = Math.max(before.deliveredSeq, mark.deliveredSeq, readSeq);
      if (readSeq === before.readSeq && deliveredSeq === before.deliveredSeq) continue;
      map.set(user, { readSeq, deliveredSeq });
      changed = true;
    }
    if (changed) this.#store.set(map);
  }
}
