/** A message in its wire format, with the fields that the tests need. */
export interface WireMessage {
  readonly id: string;
  readonly seq: number;
  readonly room: string;
  readonly client_id: string;
  readonly sender: { readonly id: string; readonly name: string | null; readonly picture: string | null };
  readonly kind: string;
  readonly content: string;
  readonly at: string;
}

const EPOCH = "1";

/** The log of one room of the scripted server. Other events than messages only take a position in it. */
export class ScriptedRoom {
  readonly log: WireMessage[] = [];
  private last = 0;
  readonly members: { user: string; role: string }[];
  readSeq = 0;

  constructor(
    readonly id: string,
    public name: string,
    readonly me: string,
    others: readonly string[],
  ) {
    this.members = [me, ...others].map((user, at) => ({ user, role: at === 0 ? "owner" : "member" }));
  }

  get head(): { epoch: string; seq: number } {
    return { epoch: EPOCH, seq: this.last };
  }

  /** Takes the next position in the log. */
  nextPosition(): { room: string; seq: number; at: string } {
    this.last += 1;
    const at = new Date(Date.UTC(2026, 0, 31, 9, 30, 0, this.last)).toISOString();
    return { room: this.id, seq: this.last, at };
  }

  append(sender: string, clientId: string, content: string): WireMessage {
    const { seq, at } = this.nextPosition();
    const message: WireMessage = {
      id: `01900000-0000-7000-8000-${String(seq).padStart(12, "0")}`,
      seq,
      room: this.id,
      client_id: clientId,
      sender: { id: sender, name: sender, picture: null },
      kind: "text",
      content,
      at,
    };
    this.log.push(message);
    return message;
  }

  /** The answer to `GET /rooms/{room}/messages`. */
  page(query: URLSearchParams): object {
    const limit = Number(query.get("limit") ?? 50);
    const before = Number(query.get("before") ?? this.last + 1);
    const after = query.get("after");
    const range =
      after === null
        ? this.log.filter((m) => m.seq < before).slice(-limit)
        : this.log.filter((m) => m.seq > Number(after)).slice(0, limit);
    const first = range[0]?.seq ?? 0;
    const last = range.at(-1)?.seq ?? this.last;
    return {
      messages: range.map((m) => this.object(m)),
      head: this.head,
      has_before: this.log.some((m) => m.seq < first),
      has_after: this.log.some((m) => m.seq > last),
    };
  }

  /** The room in `GET /me/rooms` and `GET /rooms/{room}`. */
  summary(): object {
    const last = this.log.at(-1);
    return {
      room: this.id,
      kind: "private",
      name: this.name,
      created_by: this.me,
      created_at: "2026-01-31T09:00:00.000Z",
      updated_at: last?.at ?? "2026-01-31T09:00:00.000Z",
      archived: false,
      metadata: null,
      members: this.members.length,
      role: "owner",
      head: this.head,
      last_message: last === undefined ? null : this.object(last),
      unread: this.log.filter((m) => m.seq > this.readSeq && m.sender.id !== this.me).length,
      unread_capped: false,
      read_seq: this.readSeq,
    };
  }

  /** The room in `room:joined`. */
  joined(): object {
    return {
      room: this.id,
      kind: "private",
      name: this.name,
      role: "owner",
      head: this.head,
      read_seq: this.readSeq,
      members: this.members.length,
    };
  }

  private object(message: WireMessage): object {
    return {
      ...message,
      reply_to: null,
      attachments: [],
      metadata: null,
      visible_to: null,
      edited_at: null,
      deleted: false,
      last_seq: message.seq,
      reactions: [],
    };
  }
}
