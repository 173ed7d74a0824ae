import { rejectedError, TidingsError } from "../errors.js";
import type { Feature } from "../feature.js";
import { sendUntilAnswered } from "../outbox/send-until-answered.js";
import type { AckFrame, ClientFrame, LogEvent, ServerFrame } from "../protocol/frames.js";
import { applyReaction } from "../room/fold.js";
import type { RoomImpl } from "../room/room.js";
import type { Message } from "../types.js";

/** A command that changes a message, without the fields `room`, `seq`, `id` and `client_id`. */
type ChangeCommand =
  | { type: "message:edit"; content: string; metadata?: object }
  | { type: "message:delete" }
  | { type: "reaction:add" | "reaction:remove"; emoji: string };

/** A reaction that is shown before its event arrives. `until` is the seq of the event, set by the answer. */
interface Overlay {
  readonly seq: number;
  readonly emoji: string;
  readonly added: boolean;
  readonly until?: number;
}

/** Sends changes of messages. Each change keeps its client id and is repeated until it is stored or refused. */
export class ChangesFeature implements Feature {
  readonly #room: RoomImpl;
  readonly #waiting = new Map<string, (error?: TidingsError) => void>();
  /** The last pending change of each message, by seq. The next change of the message waits for this one. */
  readonly #lastChange = new Map<number, Promise<unknown>>();
  readonly #overlay = new Map<object, Overlay>();

  constructor(room: RoomImpl) {
    this.#room = room;
    room.timeline.decorate = (row) => this.#decorate(row);
  }

  /** Sends a change after the earlier changes of the same message. Rejects with TidingsError. */
  send(change: ChangeCommand, seq: number): Promise<AckFrame | undefined> {
    const { core, id: room, timeline } = this.#room;
    const id = timeline.find(seq)?.id;
    const client_id = core.uuid();
    const frame = { ...change, room, seq, ...(id && { id }), client_id } as ClientFrame;
    let settled = false;
    const before = this.#lastChange.get(seq);
    const made = new Promise<AckFrame | undefined>((resolve, reject) => {
      const settle = (error?: TidingsError, ack?: ServerFrame) => {
        settled = true;
        this.#waiting.delete(client_id);
        if (error) reject(error);
        else resolve(ack?.type === "ack" ? ack : undefined);
      };
      this.#waiting.set(client_id, settle);
      const send = () => sendUntilAnswered(core, () => frame, { alive: () => !settled });
      (before?.then(send) ?? send()).then((ack) => settle(undefined, ack), settle);
    });
    const end = () => {
      if (this.#lastChange.get(seq) === done) this.#lastChange.delete(seq);
    };
    const done = made.then(end, end);
    this.#lastChange.set(seq, done);
    return made;
  }

  /** Adds or removes a reaction and shows it at once. Rejects with TidingsError. */
  async react(seq: number, emoji: string, added: boolean): Promise<void> {
    const { log } = this.#room;
    const key = {};
    const overlay = { seq, emoji, added };
    this.#setOverlay(key, overlay);
    try {
      const ack = await this.send({ type: added ? "reaction:add" : "reaction:remove", emoji }, seq);
      // The answer may arrive before the event. The overlay then stays until the event arrives.
      const arrived = !ack || !log.joined || (log.cursor?.seq ?? 0) >= ack.seq;
      this.#setOverlay(key, arrived ? undefined : { ...overlay, until: ack.seq });
    } catch (thrown) {
      this.#setOverlay(key, undefined);
      throw thrown;
    }
  }

  /** Fails all pending changes if the kit will not reconnect. */
  down(ended?: TidingsError): void {
    if (!ended) return;
    const error = new TidingsError("closed", ended.message, { cause: ended });
    for (const settle of [...this.#waiting.values()]) settle(error);
  }

  /** Removes the overlays of the earlier user. */
  userChanged(): void {
    for (const key of [...this.#overlay.keys()]) this.#setOverlay(key, undefined);
  }

  /** Handles `message:void`, which ends a change: it was a duplicate of a stored change, or it was rejected. */
  event(event: LogEvent): void {
    if (event.type !== "message:void") return;
    const settle = this.#waiting.get(event.client_id);
    if (event.reason === "rejected") settle?.(rejectedError(event.room));
    else settle?.();
  }

  /** Removes the overlays of events up to `seq`, because the messages now contain these events. */
  cursorMoved(seq: number): void {
    for (const [key, { until }] of this.#overlay)
      if (until !== undefined && until <= seq) this.#setOverlay(key, undefined);
  }

  #setOverlay(key: object, reaction: Overlay | undefined): void {
    if (reaction) this.#overlay.set(key, reaction);
    else if (!this.#overlay.delete(key)) return;
    this.#room.timeline.redecorate();
  }

  /** Returns the message with the reactions that the server has not confirmed yet. */
  #decorate(row: Message): Message {
    const me = this.#room.core.me()?.id;
    for (const { seq, emoji, added } of this.#overlay.values()) {
      const reactions = seq === row.seq && me && applyReaction(row.reactions, emoji, me, added, me);
      if (reactions && reactions !== row.reactions) row = { ...row, reactions };
    }
    return row;
  }
}
