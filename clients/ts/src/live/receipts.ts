import type { Feature } from "../feature.js";
import { filterShape, SHAPES } from "../protocol/check.js";
import type { LogEvent, ServerFrame } from "../protocol/frames.js";
import type { ReceiptObject } from "../protocol/objects.js";
import type { RoomImpl } from "../room/room.js";
import { cell } from "../store.js";
import type { Receipt, Store } from "../types.js";

const NO_RECEIPT: Receipt = { readSeq: 0, deliveredSeq: 0 };

/** The read and delivered marks of each member, while the room is open. Marks never move back. */
export class ReceiptsFeature implements Feature, Store<ReadonlyMap<string, Receipt>> {
  readonly #store = cell<ReadonlyMap<string, Receipt>>(new Map());
  readonly #room: RoomImpl;
  /** Changes when another user connects. The kit ignores answers that were requested before the change. */
  #generation = 0;
  readonly get = this.#store.get;
  readonly subscribe = this.#store.subscribe;

  constructor(room: RoomImpl) {
    this.#room = room;
    if (room.log.joined) this.joined();
  }

  /** Reads all receipts. A frame may have brought a newer mark than the answer, so the higher mark is kept. */
  joined(): void {
    const room = this.#room;
    const generation = this.#generation;
    if (!room.opened) return;
    room.detach(async () => {
      const answer = await room.read<{ receipts?: unknown }>("/receipts");
      if (!room.opened || generation !== this.#generation) return;
      const list = filterShape<ReceiptObject>(answer?.receipts, "user read_seq:n delivered_seq:n");
      this.#advance(
        list.map(({ user, read_seq, delivered_seq }) => [
          user,
          { readSeq: read_seq, deliveredSeq: delivered_seq },
        ]),
      );
    });
  }

  frame(frame: ServerFrame): void {
    if ((frame.type !== "receipt:read" && frame.type !== "receipt:delivered") || !this.#room.opened) return;
    const kind = frame.type === "receipt:read" ? "readSeq" : "deliveredSeq";
    const marks = filterShape<{ user: string; seq: number }>(frame.marks, SHAPES.mark);
    this.#advance(marks.map(({ user, seq }) => [user, { ...NO_RECEIPT, [kind]: seq }]));
  }

  /** Deletes the marks of a removed member, because a new membership starts without marks. */
  event(event: LogEvent): void {
    if (event.type !== "member:removed" || !this.get().has(event.user)) return;
    const map = new Map(this.get());
    map.delete(event.user);
    this.#store.set(map);
  }

  closed(): void {
    if (this.get().size) this.#store.set(new Map());
  }

  userChanged(): void {
    this.#generation++;
    this.closed();
  }

  #advance(marks: [string, Receipt][]): void {
    const map = new Map(this.get());
    let changed = false;
    for (const [user, mark] of marks) {
      const before = map.get(user) ?? NO_RECEIPT;
      const readSeq = Math.max(before.readSeq, mark.readSeq);
      // A message that was read has also been delivered.
      const deliveredSeq = Math.max(before.deliveredSeq, mark.deliveredSeq, readSeq);
      if (readSeq === before.readSeq && deliveredSeq === before.deliveredSeq) continue;
      map.set(user, { readSeq, deliveredSeq });
      changed = true;
    }
    if (changed) this.#store.set(map);
  }
}
