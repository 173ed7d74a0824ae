/** A small server in memory that follows docs/PROTOCOL.md, and violates it where a test asks for it. */
import { answerPoll, answerRequest } from "./http.js";
import { messageObject, roomObject } from "./objects.js";

/** A frame, an event or another object of the wire. */
export type Json = Record<string, unknown>;

/** One connection of the server. */
export interface Session {
  user: string | undefined;
  readonly joined: Set<string>;
  /** Sends a frame to the client. */
  send(frame: Json): void;
  /** Closes the connection. */
  close(code: number, reason?: string): void;
}

/** The default time of creation of a room. It is before all messages, so rooms without messages are last in lists. */
const CREATED_AT = "2020-01-01T00:00:00.000Z";

/** A room of the server. */
export interface ScriptedRoom {
  readonly id: string;
  name: string;
  /** When the room was created, as in the wire format. */
  createdAt: string;
  /** The users in the room apart from the one who asks. */
  readonly others: string[];
  /** The events of the room. The one at index `i` has the seq `i + 1`. */
  log: Json[];
  /** Events up to this seq are no longer in the tail. */
  tailStart: number;
  /** The seq at which the current epoch began. */
  epochStart: number;
  /** The seq up to which each user has read. */
  readonly read: Map<string, number>;
  /** For which messages each user wants notifications; `all` by default. */
  readonly notify: Map<string, string>;
}

/** An answer of the HTTP interface. */
export interface Answer {
  readonly status: number;
  readonly body?: Json;
}

/** How the server answers a message that a client sends: it stores it, does not answer, or refuses it. */
export type SendRule = "ack" | "hold" | { readonly code: string; readonly reason?: string };

/** The effect of a test on a frame: none, lose the frame, lose its answer, or replace its answer. */
export type Hook = (frame: Json, session: Session) => "lose" | "lose-answer" | Json | undefined;

/** The server of a test. The user of a connection is the part of its token before the first dot. */
export class ScriptedServer {
  epoch = 1;
  readonly rooms = new Map<string, ScriptedRoom>();
  readonly sessions = new Set<Session>();
  /** All frames that clients sent. */
  readonly seen: Json[] = [];
  /** All requests over HTTP, as `GET /me/rooms`. */
  readonly requests: string[] = [];
  /** What the server does with each message that a client sends. */
  onSend: SendRule = "ack";
  /** Changes what the server does with a frame. */
  hook: Hook | undefined;
  /** Decides which tokens are refused. */
  refuse: ((token: string) => boolean) | undefined;
  /** Replaces answers of HTTP. */
  http: ((method: string, path: string, body: Json | undefined) => Answer | undefined) | undefined;
  websocket = true;
  heartbeat = 25_000;
  ttl = 3_600_000;
  version = "v1";
  /** The `spread_ms` of the next `connected`. */
  spread: number | undefined;
  now = () => Date.now();

  constructor(rooms: readonly string[] = []) {
    for (const id of rooms) this.addRoom(id);
  }

  /** Adds a room with the current user and others. */
  addRoom(id: string, others: readonly string[] = ["bob"]): ScriptedRoom {
    const room: ScriptedRoom = {
      id,
      name: id,
      createdAt: CREATED_AT,
      others: [...others],
      log: [],
      tailStart: 0,
      epochStart: 0,
      read: new Map(),
      notify: new Map(),
    };
    this.rooms.set(id, room);
    return room;
  }

  /** Returns a room. Throws an error if the server does not have it. */
  room(id = "r"): ScriptedRoom {
    const room = this.rooms.get(id);
    if (!room) throw new Error(`the scripted server has no room ${id}; add it with addRoom`);
    return room;
  }

  /** A user sends a message to a room, which may mention users. */
  say(room: string, user: string, content: string, mentions?: readonly string[]): Json {
    return this.appendMessage(content, user, room, undefined, mentions);
  }

  /** Adds a user to a room. */
  addMember(room: string, user: string, name?: string): void {
    this.room(room).others.push(user);
    this.append(room, { type: "member:added", user, ...(name && { name }), role: "member", by: "bob" });
  }

  /** Gives a room another name. */
  rename(room: string, name: string): void {
    this.room(room).name = name;
    this.append(room, { type: "room:updated", name, by: "bob" });
  }

  /** Sends a frame to all connections. */
  push(frame: Json): void {
    for (const session of [...this.sessions]) session.send(frame);
  }

  /** The frames of a type that clients sent. */
  framesOf(type: string): Json[] {
    return this.seen.filter((frame) => frame.type === type);
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
  appendMessage(
    content: string,
    sender = "bob",
    room = "r",
    clientId = `c${Math.random()}`,
    mentions: readonly string[] = [],
    attachments: readonly Json[] = [],
  ): Json {
    const id = `m${this.room(room).log.length + 1}-${room}`;
    const message = this.append(room, {
      type: "message:new",
      id,
      client_id: clientId,
      sender: { id: sender },
      kind: "text",
      content,
      ...(mentions.length && { mentions }),
      ...(attachments.length && { attachments }),
    });
    const seq = message.seq as number;
    const from = { epoch: String(this.epoch), seq: seq - 1 };
    for (const session of [...this.sessions]) {
      if (!session.joined.has(room) && mentions.includes(session.user ?? ""))
        session.send({ type: "room:activity", room, seq, mention: true, from });
    }
    return message;
  }

  /** Begins a new epoch: no earlier event can be replayed. */
  beginEpoch(): void {
    this.epoch++;
    for (const room of this.rooms.values()) room.tailStart = room.epochStart = room.log.length;
  }

  /** The presence by user; offline by default. */
  readonly presence = new Map<string, string>();

  /** The time of the server as in the wire format. @internal */
  at(): string {
    return new Date(this.now()).toISOString();
  }

  /** Adds a connection. @internal */
  open(session: Session): void {
    this.sessions.add(session);
  }

  /** Removes a connection. @internal */
  closed(session: Session): void {
    this.sessions.delete(session);
  }

  /** Answers a frame of a client. @internal */
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

  /** The answers to a command. @internal */
  *command(session: Session, frame: Json): Generator<Json> {
    const type = frame.type as string;
    if (type === "auth") return yield* this.auth(session, frame.token as string);
    if (type === "room:join") return yield* this.join(session, frame);
    if (type === "message:send") return yield* this.answerSend(session, frame);
    if (["message:edit", "message:delete", "reaction:add", "reaction:remove"].includes(type)) {
      return yield this.change(session.user ?? "", frame);
    }
    if (type === "message:read") {
      const { read } = this.room(frame.room as string);
      read.set(session.user ?? "", Math.max(read.get(session.user ?? "") ?? 0, frame.seq as number));
    }
    if (type === "room:leave") {
      const rooms = (frame.rooms as string[] | undefined) ?? [frame.room as string];
      for (const id of rooms) session.joined.delete(id);
      yield { type: "room:left", rooms };
    } else if (type === "ping") yield { type: "pong", server_time: this.at() };
    else if (type === "presence:get") {
      const of = (user: string) => ({ user, status: this.presence.get(user) ?? "offline", last_seen: null });
      yield { type: "presence:list", users: (frame.users as string[]).map(of) };
    } else yield { type: "ok" };
  }

  private *answerSend(session: Session, frame: Json): Generator<Json> {
    if (this.onSend === "ack") yield this.send(session.user ?? "", frame);
    else if (this.onSend !== "hold") yield { type: "error", room: frame.room, ...this.onSend };
  }

  /** The answer to a token. @internal */
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
      ...(this.spread === undefined ? {} : { spread_ms: this.spread }),
      limits: { max_message_chars: 1000, max_frame_bytes: 65536, messages_per_second: 10 },
      node: "n",
    };
  }

  /** The answer to `room:join`, and the missed events. @internal */
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
        name: this.room(id).name,
        role: "member",
        head: this.head(id),
        read_seq: 0,
        members: this.room(id).others.length + 1,
      })),
      failed: failed.map((room) => ({ room, code: "not_found" })),
    };
    for (const id of known) {
      const after = (frame.room ? frame.after : (frame.after as Json | undefined)?.[id]) as Json | undefined;
      for (const event of this.replay(id, after)) yield { type: "#event", event };
    }
  }

  /** The frames after a join: the missed events and `room:caught_up`, or a gap. @internal */
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

  /** The position of the newest event of a room. @internal */
  head(id: string): Json {
    return { epoch: String(this.epoch), seq: this.room(id).log.length };
  }

  /** Stores a message once. @internal */
  send(user: string, frame: Json): Json {
    const { room, client_id } = frame as { room: string; client_id: string };
    const same = (event: Json) =>
      event.client_id === client_id && (event.sender as Json | undefined)?.id === user;
    const taken = this.room(room).log.find(same);
    const { content, mentions, attachments } = frame as { content: string; mentions: []; attachments: [] };
    const event = taken ?? this.appendMessage(content, user, room, client_id, mentions, attachments);
    return this.ack(event, client_id, taken !== undefined);
  }

  /** Stores an edit, a delete or a reaction once. @internal */
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
        ...(frame.mentions !== undefined && { mentions: frame.mentions }),
        ...(frame.emoji !== undefined && { emoji: frame.emoji }),
        "#by": client_id,
      });
    return this.ack(event, client_id, taken !== undefined);
  }

  /** The confirmation of an event. @internal */
  ack(event: Json, clientId: string, duplicate: boolean): Json {
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
      client_id: clientId,
    };
  }

  /** One message as HTTP returns it. @internal */
  message(event: Json, me: string): Json {
    return messageObject(this, event, me);
  }

  /** A room as HTTP returns it. @internal */
  object(id: string, me: string): Json {
    return roomObject(this, id, me);
  }

  /** Answers a request of the HTTP interface. @internal */
  request(method: string, url: string, token: string, body: Json | undefined): Promise<Answer> {
    return answerRequest(this, method, url, token, body);
  }

  /** Answers a poll. @internal */
  poll(user: string, body: Json): Promise<Json> {
    return answerPoll(this, user, body);
  }
}
