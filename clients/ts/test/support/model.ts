/** A small server that follows docs/PROTOCOL.md, and violates it where a test asks for it. */

export type Json = Record<string, unknown>;

/** One connection of the model. */
export interface Session {
  user: string | undefined;
  readonly joined: Set<string>;
  send(frame: Json): void;
  close(code: number, reason?: string): void;
}

interface RoomLog {
  readonly id: string;
  log: Json[];
  /** Events up to here are no longer in the tail. */
  tailStart: number;
  /** The seq at which the current epoch began. */
  epochStart: number;
  readonly read: Map<string, number>;
}

/** The effect of a test on a frame: none, lose the frame, lose its answer, or replace its answer. */
export type Hook = (frame: Json, session: Session) => "lose" | "lose-answer" | Json | undefined;

export class Model {
  epoch = 1;
  readonly rooms = new Map<string, RoomLog>();
  readonly sessions = new Set<Session>();
  readonly seen: Json[] = [];
  readonly requests: string[] = [];
  hook: Hook | undefined;
  /** Decides which tokens are refused. */
  refuse: ((token: string) => boolean) | undefined;
  /** Replaces answers of HTTP. */
  http: ((method: string, path: string) => { status: number; body?: Json } | undefined) | undefined;
  websocket = true;
  heartbeat = 25_000;
  ttl = 3_600_000;
  version = "v1";
  now = () => Date.now();

  constructor(rooms: string[] = ["r"]) {
    for (const id of rooms) this.rooms.set(id, { id, log: [], tailStart: 0, epochStart: 0, read: new Map() });
  }

  room(id = "r"): RoomLog {
    const room = this.rooms.get(id);
    if (!room) throw new Error(`no room ${id}`);
    return room;
  }

  /** The contents of a room's messages, in order. */
  contents(id = "r"): unknown[] {
    return this.room(id)
      .log.filter((event) => event.type === "message:new")
      .map((event) => event.content);
  }

  /** Appends an event and sends it to the joined sessions. */
  append(room: string, event: Json): Json {
    const log = this.room(room);
    const complete = { room, seq: log.log.length + 1, at: this.at(), ...event };
    log.log.push(complete);
    for (const session of [...this.sessions]) if (session.joined.has(room)) session.send(complete);
    return complete;
  }

  /** Appends a message. */
  appendMessage(content: string, sender = "bob", room = "r", clientId = `c${Math.random()}`): Json {
    const id = `m${this.room(room).log.length + 1}-${room}`;
    return this.append(room, {
      type: "message:new",
      id,
      client_id: clientId,
      sender: { id: sender },
      kind: "text",
      content,
    });
  }

  /** Begins a new epoch: no earlier event can be replayed. */
  beginEpoch(): void {
    this.epoch++;
    for (const room of this.rooms.values()) room.tailStart = room.epochStart = room.log.length;
  }

  /** The users with a common room; all others are shown as offline. */
  readonly presence = new Map<string, string>();

  at(): string {
    return new Date(this.now()).toISOString();
  }

  open(session: Session): void {
    this.sessions.add(session);
  }

  closed(session: Session): void {
    this.sessions.delete(session);
  }

  frame(session: Session, frame: Json): void {
    this.seen.push(frame);
    const done = this.hook?.(frame, session);
    if (done === "lose") return;
    const { ref } = frame;
    const answer = (made: Json) => {
      if (done !== "lose-answer") session.send(ref === undefined ? made : { ref, ...made });
    };
    if (typeof done === "object") {
      answer(done);
      return;
    }
    for (const made of this.command(session, frame)) {
      if (made.type === "#event") session.send(made.event as Json);
      else answer(made);
    }
  }

  *command(session: Session, frame: Json): Generator<Json> {
    const type = frame.type as string;
    if (type === "auth") return yield* this.auth(session, frame.token as string);
    if (type === "room:join") return yield* this.join(session, frame);
    if (type === "message:send") return yield this.send(session.user ?? "", frame);
    if (["message:edit", "message:delete", "reaction:add", "reaction:remove"].includes(type)) {
      return yield this.change(session.user ?? "", frame);
    }
    if (type === "message:read") {
      const { read } = this.room(frame.room as string);
      read.set(session.user ?? "", Math.max(read.get(session.user ?? "") ?? 0, frame.seq as number));
    }
    if (type === "ping") yield { type: "pong", server_time: this.at() };
    else if (type === "presence:get") {
      const of = (user: string) => ({ user, status: this.presence.get(user) ?? "offline", last_seen: null });
      yield { type: "presence:list", users: (frame.users as string[]).map(of) };
    } else yield { type: "ok" };
  }

  *auth(session: Session, token: string): Generator<Json> {
    if (this.refuse?.(token)) {
      yield { type: "error", code: "unauthorized", reason: "expired" };
      session.close(4401);
      return;
    }
    const expires_at = new Date(this.now() + this.ttl).toISOString();
    if (session.user !== undefined) return yield { type: "auth:ok", expires_at };
    session.user = token.split(".")[0] as string;
    yield {
      type: "connected",
      connection: "c",
      user: session.user,
      server_time: this.at(),
      heartbeat_ms: this.heartbeat,
      expires_at,
      rooms_version: this.version,
      limits: { max_message_chars: 1000, max_frame_bytes: 65536, messages_per_second: 10 },
      node: "n",
    };
  }

  *join(session: Session, frame: Json): Generator<Json> {
    const ids = frame.room
      ? [frame.room as string]
      : frame.rooms === "mine"
        ? [...this.rooms.keys()]
        : (frame.rooms as string[]);
    const known = ids.filter((id) => this.rooms.has(id));
    const failed = ids.filter((id) => !this.rooms.has(id));
    if (frame.room && failed.length) return yield { type: "error", room: frame.room, code: "not_found" };
    for (const id of known) session.joined.add(id);
    yield {
      type: "room:joined",
      rooms: known.map((id) => ({
        room: id,
        kind: "private",
        name: id,
        role: "member",
        head: this.head(id),
        read_seq: 0,
        members: 2,
      })),
      failed: failed.map((room) => ({ room, code: "not_found" })),
    };
    for (const id of known) {
      const after = (frame.room ? frame.after : (frame.after as Json | undefined)?.[id]) as Json | undefined;
      for (const event of this.replay(id, after)) yield { type: "#event", event };
    }
  }

  /** The frames after a join: the missed events and `room:caught_up`, or a gap. */
  *replay(id: string, after: Json | undefined): Generator<Json> {
    const room = this.room(id);
    const head = this.head(id);
    if (after) {
      const seq = after.seq as number;
      const past = after.epoch !== head.epoch && seq > room.epochStart;
      if (past || seq < room.tailStart || seq > room.log.length) {
        yield {
          type: "room:gap",
          room: id,
          after: past ? room.epochStart : Math.min(seq, room.log.length),
          head,
        };
        return;
      }
      yield* room.log.slice(seq);
    }
    yield { type: "room:caught_up", room: id, ...head };
  }

  head(id: string): Json {
    return { epoch: String(this.epoch), seq: this.room(id).log.length };
  }

  send(user: string, frame: Json): Json {
    const { room, client_id } = frame as { room: string; client_id: string };
    const same = (event: Json) =>
      event.client_id === client_id && (event.sender as Json | undefined)?.id === user;
    const taken = this.room(room).log.find(same);
    const event = taken ?? this.appendMessage(frame.content as string, user, room, client_id);
    return this.ack(event, client_id, taken !== undefined);
  }

  change(user: string, frame: Json): Json {
    const types: Json = {
      "message:edit": "message:edited",
      "message:delete": "message:deleted",
      "reaction:add": "reaction:added",
      "reaction:remove": "reaction:removed",
    };
    const { room, seq, client_id } = frame as { room: string; seq: number; client_id: string };
    const target = this.room(room).log[seq - 1];
    if (target?.type !== "message:new") return { type: "error", code: "not_found" };
    const taken = this.room(room).log.find((event) => event["#by"] === client_id);
    const event =
      taken ??
      this.append(room, {
        type: types[frame.type as string],
        target: seq,
        target_id: target.id,
        by: user,
        ...(frame.content !== undefined && { content: frame.content }),
        ...(frame.emoji !== undefined && { emoji: frame.emoji }),
        "#by": client_id,
      });
    return this.ack(event, client_id, taken !== undefined);
  }

  ack(event: Json, client_id: string, duplicate: boolean): Json {
    const { room, seq, at, id } = event;
    return {
      type: "ack",
      room,
      seq,
      at,
      id,
      epoch: String(this.epoch),
      stage: "stored",
      duplicate,
      client_id,
    };
  }

  /** One message as HTTP returns it. */
  message(event: Json, me: string): Json {
    const changes = this.room(event.room as string).log.filter((other) => other.target === event.seq);
    const message: Json & { reactions: { emoji: string; users: string[] }[] } = {
      ...event,
      last_seq: event.seq,
      reactions: [],
      deleted: false,
    };
    for (const change of changes) {
      if (message.deleted) break;
      const { emoji, by } = change as { emoji: string; by: string };
      let set = message.reactions.find((one) => one.emoji === emoji);
      if (change.type === "message:edited")
        Object.assign(message, { content: change.content, edited_at: change.at });
      else if (change.type === "message:deleted") Object.assign(message, { content: "", deleted: true });
      else if (change.type === "reaction:added") {
        if (!set) {
          set = { emoji, users: [] };
          message.reactions.push(set);
        }
        if (set.users.includes(by)) continue;
        set.users.push(by);
      } else {
        if (!set?.users.includes(by)) continue;
        set.users = set.users.filter((user) => user !== by);
        message.reactions = message.reactions.filter((one) => one.users.length);
      }
      message.last_seq = change.seq;
    }
    const reactions = message.reactions.map(({ emoji, users }) => ({
      emoji,
      count: users.length,
      mine: users.includes(me),
      users: users.slice(0, 20),
    }));
    return { ...message, reactions };
  }

  /** Answers a request of the HTTP interface. */
  async request(
    method: string,
    url: string,
    token: string,
    body: Json | undefined,
  ): Promise<{ status: number; body?: Json }> {
    const { pathname, searchParams } = new URL(url);
    const path = pathname.replace("/v1", "");
    this.requests.push(`${method} ${path}${searchParams.size ? `?${searchParams}` : ""}`);
    const otherwise = this.http?.(method, path);
    if (otherwise) return otherwise;
    if (path === "/transport") return { status: 200, body: { websocket: this.websocket } };
    if (this.refuse?.(token)) return { status: 401, body: { code: "unauthorized" } };
    const me = token.split(".")[0] as string;
    if (path === "/poll") return { status: 200, body: await this.poll(me, body ?? {}) };
    if (path === "/me/rooms") {
      const rooms = [...this.rooms.keys()].map((id) => this.object(id, me));
      return { status: 200, body: { rooms, next: null, rooms_version: this.version } };
    }
    const [, , id = "", what] = path.split("/");
    if (!this.rooms.has(id)) return { status: 404, body: { code: "not_found" } };
    const number = (name: string) => (searchParams.has(name) ? Number(searchParams.get(name)) : undefined);
    const limit = number("limit") ?? 50;
    const log = this.room(id).log;
    if (what === undefined) return { status: 200, body: this.object(id, me) };
    if (what === "messages") {
      const before = number("before") ?? Number.POSITIVE_INFINITY;
      const all = log.filter((event) => event.type === "message:new" && (event.seq as number) < before);
      const voided = new Set(
        log.filter((event) => event.type === "message:void").map((event) => event.target),
      );
      const left = all.filter((event) => !voided.has(event.seq));
      const messages = left.slice(-limit).map((event) => this.message(event, me));
      return {
        status: 200,
        body: { messages, head: this.head(id), has_before: left.length > limit, has_after: false },
      };
    }
    if (what === "events") {
      const after = number("after") ?? 0;
      if (searchParams.get("epoch") !== String(this.epoch)) {
        return { status: 409, body: { code: "conflict", after: this.room(id).epochStart } };
      }
      const events = log.slice(after, after + limit);
      const seq = after + events.length;
      const next = { epoch: String(this.epoch), seq };
      return { status: 200, body: { events, next, head: this.head(id), more: seq < log.length } };
    }
    if (what === "receipts") {
      const receipts = [...this.room(id).read].map(([user, read_seq]) => ({
        user,
        read_seq,
        delivered_seq: read_seq,
      }));
      return { status: 200, body: { receipts } };
    }
    if (what === "members")
      return { status: 200, body: { members: [{ user: me, role: "owner" }], next: null } };
    return { status: 404, body: { code: "not_found" } };
  }

  object(id: string, me: string): Json {
    const log = this.room(id).log;
    const messages = log.filter((event) => event.type === "message:new");
    const last = messages.at(-1);
    const read = this.room(id).read.get(me) ?? 0;
    return {
      room: id,
      kind: "private",
      name: id,
      created_by: "bob",
      created_at: this.at(),
      updated_at: (last?.at as string) ?? new Date(0).toISOString(),
      archived: false,
      metadata: null,
      members: 2,
      role: "member",
      head: this.head(id),
      last_message: last ? this.message(last, me) : null,
      unread: messages.filter((event) => (event.sender as Json).id !== me && (event.seq as number) > read)
        .length,
      unread_capped: false,
      read_seq: read,
    };
  }

  /** One poll. It answers at once, because the clock of the tests decides how long a poll waits. */
  async poll(user: string, body: Json): Promise<Json> {
    const events: Json[] = [];
    const answers: Json[] = [];
    const cursors: Json = {};
    const session: Session = {
      user,
      joined: new Set(),
      send: (frame) => void answers.push(frame),
      close: () => {},
    };
    for (const command of (body.commands as Json[] | undefined) ?? []) this.frame(session, command);
    for (const [id, after] of Object.entries((body.cursors as Json | undefined) ?? {})) {
      for (const event of this.replay(id, (after as Json | null) ?? this.head(id))) {
        if (event.type !== "room:caught_up") events.push(event);
      }
      cursors[id] = this.head(id);
    }
    return {
      events,
      cursors,
      answers,
      failed: [],
      rooms_version: this.version,
      websocket: this.websocket,
      user,
      server_time: this.at(),
      limits: { max_message_chars: 1000, max_frame_bytes: 65536, messages_per_second: 10 },
    };
  }
}
