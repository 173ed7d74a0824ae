import { TidingsError } from "../errors.js";
import type { Feature } from "../feature.js";
import type { Entry, EntryChange } from "../outbox/entry.js";
import type { ChangeEvent } from "../protocol/frames.js";
import { applyChange } from "../room/fold.js";
import type { RoomImpl } from "../room/room.js";
import type { Message } from "../types.js";

/** Settles the promise of a caller. Without an error the change is stored. */
type Settle = (error?: TidingsError) => void;

const EVENT_TYPES: { readonly [type in EntryChange["type"]]: ChangeEvent["type"] } = {
  "message:edit": "message:edited",
  "message:delete": "message:deleted",
  "reaction:add": "reaction:added",
  "reaction:remove": "reaction:removed",
};

/**
 * The edits, deletions and reactions of the current user in one room. The outbox sends and keeps them; this feature
 * shows them at once, and until their events arrive.
 */
export class ChangesFeature implements Feature {
  readonly #room: RoomImpl;
  /** The callers that wait for a change of this page. Changes of earlier pages have no caller. */
  readonly #callers = new Map<Entry, Settle>();
  /** The changes that are shown: those in the outbox, then stored ones whose event has not arrived. */
  #shown: readonly Entry[] = [];

  constructor(room: RoomImpl) {
    this.#room = room;
    room.timeline.decorate = (row) => this.#decorate(row);
    room.core.outbox.subscribe(() => this.#update());
    this.#update();
  }

  /** Adds a change to the outbox. Resolves once it is stored, or discarded by the app. Rejects with TidingsError. */
  send(change: EntryChange): Promise<void> {
    const { core, id: room, timeline } = this.#room;
    return new Promise((resolve, reject) => {
      const { id } = timeline.find(change.seq) ?? {};
      const entry = core.outbox.add(room, "", {}, { ...change, id });
      this.#callers.set(entry, (error) => (error ? reject(error) : resolve()));
    });
  }

  /**
   * If the kit will not reconnect, drops changes that are only in memory. With a storage the outbox sends them after the
   * next `connect()`.
   */
  down(ended?: TidingsError): void {
    if (!ended || this.#room.core.env.storage) return;
    this.#rejectAll(ended);
    for (const { clientId } of this.#shown) this.#room.core.outbox.discard(clientId);
  }

  /** Rejects the changes of the earlier user. The outbox keeps them for that user. */
  userChanged(): void {
    this.#rejectAll();
    this.#show([]);
  }

  /** Stops to show changes whose events the messages now contain. */
  cursorMoved(): void {
    if (this.#shown.some((entry) => entry.acceptance)) this.#update();
  }

  #rejectAll(cause?: TidingsError): void {
    for (const entry of this.#callers.keys()) this.#settle(entry, new TidingsError("closed", "", { cause }));
  }

  #settle(entry: Entry, error?: TidingsError): void {
    const settle = this.#callers.get(entry);
    this.#callers.delete(entry);
    settle?.(error);
  }

  /** Takes the changes of the outbox, settles those that were stored or refused, and shows the others. */
  #update(): void {
    const { core, id, log } = this.#room;
    const pending = core.outbox.entriesOf(id).filter((entry) => entry.change);
    const refused = pending.filter((entry) => entry.error && this.#callers.has(entry));
    // A change without an acceptance was voided as a duplicate of itself, or the app has discarded it.
    const settled = this.#shown.filter((entry) => !pending.includes(entry));
    // The answer may arrive before the event. Until then the change stays visible.
    const awaited = settled.filter(
      ({ acceptance }) => log.joined && (log.cursor?.seq ?? 0) < (acceptance?.seq ?? 0),
    );
    this.#show([...awaited, ...pending.filter((entry) => !refused.includes(entry))]);
    for (const entry of settled) this.#settle(entry);
    for (const entry of refused) {
      this.#settle(entry, entry.error);
      // The caller knows of the refusal, so the outbox need not keep the change.
      core.outbox.discard(entry.clientId);
    }
  }

  #show(entries: readonly Entry[]): void {
    const isSame =
      entries.length === this.#shown.length && entries.every((entry, at) => entry === this.#shown[at]);
    this.#shown = entries;
    // An entry that stays may have failed, or may be sent again.
    if (!isSame || entries.length) this.#room.timeline.redecorate();
  }

  /** Returns the message with the changes applied that the server has not refused. */
  #decorate(row: Message): Message {
    const by = this.#room.core.me()?.id ?? "";
    for (const { change, clientId, at, error, acceptance } of this.#shown) {
      if (change?.seq !== row.seq || (change?.id ?? row.id) !== row.id || !change) continue;
      const { lastSeq } = row;
      const event = {
        ...change,
        type: EVENT_TYPES[change.type],
        seq: lastSeq + 1,
        target_id: row.id,
        by,
        at: new Date(at).toISOString(),
      } as unknown as ChangeEvent;
      // The row keeps its `lastSeq`, because the seq of the event is not known yet.
      if (!error) row = { ...(applyChange(row, event, by) ?? row), lastSeq };
      if (acceptance) continue;
      const { type } = change;
      row = {
        ...row,
        pendingChange: { clientId, type, status: error ? "failed" : "sending", ...(error && { error }) },
      };
    }
    return row;
  }
}
