import { rejected, TidingsError } from "../errors.js";
import { repeat } from "../outbox/repeat.js";
import type { Part } from "../part.js";
import type { AckFrame, ClientFrame, LogEvent, ServerFrame } from "../protocol/frames.js";
import { react } from "../room/fold.js";
import type { RoomImpl } from "../room/room.js";
import type { Message } from "../types.js";

/** A change before it has its client id and its place. */
type Change =
  | { type: "message:edit"; content: string; metadata?: object }
  | { type: "message:delete" }
  | { type: "reaction:add" | "reaction:remove"; emoji: string };

/** A reaction that shows before its event: `until` is the seq of that, once it is known. */
interface Overlay {
  readonly seq: number;
  readonly emoji: string;
  readonly give: boolean;
  readonly until?: number;
}

/** Changes of messages on their way: each under one client id, over reconnects, until it is stored or refused. */
export class ChangesPart implements Part {
  readonly #room: RoomImpl;
  readonly #waiting = new Map<string, (error?: TidingsError) => void>();
  /** The last change of each message that is under way: the next one waits for it. */
  readonly #last = new Map<number, Promise<unknown>>();
  readonly #overlay = new Map<object, Overlay>();

  constructor(room: RoomImpl) {
    this.#room = room;
    room.timeline.dress = (row) => this.#dressed(row);
  }

  /** Makes a change, once those of this message before it are made or refused. Rejects with TidingsError. */
  make(change: Change, seq: number): Promise<AckFrame | undefined> {
    const { core, id: room, timeline } = this.#room;
    const id = timeline.find(seq)?.id;
    const client_id = core.uuid();
    const frame = { ...change, room, seq, ...(id && { id }), client_id } as ClientFrame;
    let settled = false;
    const before = this.#last.get(seq);
    const made = new Promise<AckFrame | undefined>((resolve, reject) => {
      const settle = (error?: TidingsError, ack?: ServerFrame) => {
        settled = true;
        this.#waiting.delete(client_id);
        if (error) reject(error);
        else resolve(ack?.type === "ack" ? ack : undefined);
      };
      this.#waiting.set(client_id, settle);
      const send = () => repeat(core, () => frame, { alive: () => !settled });
      (before?.then(send) ?? send()).then((ack) => settle(undefined, ack), settle);
    });
    const end = () => {
      if (this.#last.get(seq) === done) this.#last.delete(seq);
    };
    const done = made.then(end, end);
    this.#last.set(seq, done);
    return made;
  }

  /** Gives or takes back a reaction, which shows from now on. Rejects with TidingsError. */
  async react(seq: number, emoji: string, give: boolean): Promise<void> {
    const { log } = this.#room;
    const key = {};
    const shown = { seq, emoji, give };
    this.#show(key, shown);
    try {
      const ack = await this.make({ type: give ? "reaction:add" : "reaction:remove", emoji }, seq);
      // The answer may be here before the event: until then it goes on showing.
      const come = !ack || !log.joined || (log.cursor?.seq ?? 0) >= ack.seq;
      this.#show(key, come ? undefined : { ...shown, until: ack.seq });
    } catch (thrown) {
      this.#show(key, undefined);
      throw thrown;
    }
  }

  /** When nobody connects by themselves any more, nobody makes what waits. */
  down(ended?: TidingsError): void {
    if (!ended) return;
    const error = new TidingsError("closed", ended.message, { cause: ended });
    for (const settle of [...this.#waiting.values()]) settle(error);
  }

  /** No reaction of one's own is under way any more. */
  forget(): void {
    for (const key of [...this.#overlay.keys()]) this.#show(key, undefined);
  }

  /** What was made stands elsewhere, or could not be written. */
  event(event: LogEvent): void {
    if (event.type !== "message:void") return;
    const settle = this.#waiting.get(event.client_id);
    if (event.reason === "rejected") settle?.(rejected(event.room));
    else settle?.();
  }

  /** The log has come up to here: what was answered with a place up to it needs no overlay any more. */
  moved(seq: number): void {
    for (const [key, { until }] of this.#overlay)
      if (until !== undefined && until <= seq) this.#show(key, undefined);
  }

  #show(key: object, reaction: Overlay | undefined): void {
    if (reaction) this.#overlay.set(key, reaction);
    else if (!this.#overlay.delete(key)) return;
    this.#room.timeline.redress();
  }

  /** A row with the reactions that are not answered yet. */
  #dressed(row: Message): Message {
    const me = this.#room.core.me()?.id;
    for (const { seq, emoji, give } of this.#overlay.values()) {
      const reactions = seq === row.seq && me && react(row.reactions, emoji, me, give, me);
      if (reactions && reactions !== row.reactions) row = { ...row, reactions };
    }
    return row;
  }
}
