import type { Env } from "../env.js";
import { asError } from "../errors.js";
import { asFrame, assertShape, filterShape, hasShape, isEvent, SHAPES } from "../protocol/check.js";
import type { ClientFrame } from "../protocol/frames.js";
import type { Cursor, LimitsObject } from "../protocol/objects.js";
import { pause } from "../timers.js";
import { jsonByteLength } from "./frame-size.js";
import { callHttp } from "./http.js";
import type { Link, LinkHost } from "./link.js";
import type { Tokens } from "./tokens.js";

interface PollAnswer {
  readonly events: unknown[];
  readonly cursors: { readonly [room: string]: unknown };
  readonly answers: unknown[];
  readonly failed: unknown[];
  readonly rooms_version: string;
  readonly websocket?: boolean;
  readonly user: string;
  readonly server_time: string;
  readonly limits: LimitsObject;
}

type Cursors = ReadonlyMap<string, Cursor | null>;

/** How long the server may wait before it answers a poll for events and a poll with commands, in milliseconds. */
const EVENT_POLL_TIMEOUT_MS = 20_000;
const COMMAND_POLL_TIMEOUT_MS = 5_000;
/** How much longer the client waits for the answer to a poll than the server waits, in milliseconds. */
const NETWORK_GRACE_MS = 5_000;
/** The most commands in one poll, and the most bytes of these commands. The server accepts 256 KiB per request. */
const MAX_COMMANDS_PER_POLL = 100;
const MAX_COMMAND_BYTES = 200 * 1_024;
/** The most concurrent polls with commands. The server allows 32 polls per user. */
const MAX_COMMAND_POLLS = 4;
/** The shape (the required fields) of the answer to a poll. */
const ANSWER_SHAPE = "events:a cursors:o answers:a failed:a rooms_version user server_time limits:o";
/** The WebSocket close code for each HTTP status of a refused poll. */
const CLOSE_CODES: { readonly [status: number]: number } = { 400: 1007, 401: 4401, 403: 4403, 413: 1009 };

/**
 * Returns the lane of a command. Two concurrent polls never contain commands of the same lane, so these commands keep
 * their order. Each `message:send` has its own lane, because the outbox keeps the order of messages.
 */
const laneOf = (frame: ClientFrame): string =>
  frame.type === "message:send" ? frame.client_id : ((frame as { room?: string }).room ?? "");

/**
 * A link that polls. One poll waits for events. Commands go in separate polls, so that they do not wait for events. The
 * cursors advance only with a complete answer, so that a lost answer loses no events.
 */
export class PollLink implements Link {
  readonly #env: Env;
  readonly #tokens: Tokens;
  readonly #host: LinkHost;
  readonly #cursors = new Map<string, Cursor | null>();
  readonly #busyLanes = new Set<string>();
  readonly #polls = new Set<AbortController>();
  #closed = false;
  #queue: ClientFrame[] = [];
  #roomsVersion: string | undefined;
  #eventPoll: AbortController | undefined;
  #user: string | undefined;
  #answerAtOnce = true;
  #maxCommands = MAX_COMMANDS_PER_POLL;
  #sending = 0;

  constructor(env: Env, tokens: Tokens, host: LinkHost) {
    this.#env = env;
    this.#tokens = tokens;
    this.#host = host;
    void this.#pollEvents();
  }

  send(frame: ClientFrame): void {
    this.#host.sent(frame);
    if (frame.type === "room:join" || frame.type === "room:leave") {
      // A poll must name its rooms, so a join of `mine` joins no room.
      const requested = frame.room ? [frame.room] : (frame.rooms ?? []);
      const rooms = typeof requested === "string" ? [] : requested;
      const isJoin = frame.type === "room:join";
      for (const room of rooms) {
        const after = isJoin
          ? frame.room
            ? frame.after
            : (frame.after as { [room: string]: Cursor })?.[room]
          : null;
        if (isJoin) this.#cursors.set(room, (after as Cursor | undefined) ?? null);
        else this.#cursors.delete(room);
      }
      queueMicrotask(() => {
        const { ref } = frame;
        if (isJoin)
          this.#deliver({ type: "room:joined", ref, rooms: rooms.map((room) => ({ room })), failed: [] });
        else this.#deliver({ type: "room:left", ref, rooms });
        // The running poll lacks the changed rooms. The next poll contains them, and the server answers it at once.
        this.#answerAtOnce = true;
        this.#eventPoll?.abort();
      });
    } else if (frame.type !== "auth") {
      // Each poll carries the current token, so `auth` needs no command.
      this.#queue.push(frame);
      queueMicrotask(() => this.#flush());
    }
  }

  close(): void {
    this.#closed = true;
    for (const controller of this.#polls) controller.abort();
  }

  #deliver(frame: unknown): void {
    if (!this.#closed) this.#host.frame(asFrame(frame));
  }

  async #pollEvents(): Promise<void> {
    while (!this.#closed) {
      const rooms_version = this.#roomsVersion;
      const requestCursors = new Map(this.#cursors);
      const timeout = this.#answerAtOnce ? 0 : EVENT_POLL_TIMEOUT_MS;
      this.#answerAtOnce = false;
      const controller = new AbortController();
      // Joins do not abort the first poll, because its answer becomes the `connected` frame.
      if (rooms_version !== undefined) this.#eventPoll = controller;
      const body = { cursors: Object.fromEntries(requestCursors), rooms_version };
      const answer = await this.#post(controller, timeout, body);
      this.#eventPoll = undefined;
      if (!answer) continue;
      this.#roomsVersion = answer.rooms_version;
      if (rooms_version === undefined) {
        this.#user = answer.user;
        this.#deliver({ ...answer, type: "connected", heartbeat_ms: 0 });
      }
      this.#applyAnswer(answer, requestCursors);
    }
  }

  #applyAnswer({ failed, events, cursors, websocket }: PollAnswer, requestCursors: Cursors): void {
    // False for a room that was left or joined again during the poll. The answer must not move the cursor of this room.
    const isUnchanged = (room: string) => this.#cursors.get(room) === requestCursors.get(room);
    const leftRooms = new Set<string>();
    const leaveRoom = (room: string) => {
      leftRooms.add(room);
      if (isUnchanged(room)) this.#cursors.delete(room);
    };
    const refusedRooms = filterShape<{ room: string }>(failed, SHAPES.failed);
    for (const { room } of refusedRooms) leaveRoom(room);
    if (refusedRooms.length) this.#deliver({ type: "room:joined", rooms: [], failed: refusedRooms });
    for (const event of events) {
      const frame = asFrame(event);
      // Skips events of a room that was left or joined again during this poll. The replay after a new join brings them
      // in order.
      if (frame && isEvent(frame) && !isUnchanged(frame.room)) continue;
      // Polls omit a room with a gap until the room has read the missing events and joins again.
      if (frame?.type === "room:gap") leaveRoom(frame.room);
      this.#deliver(event);
    }
    for (const [room, cursor] of Object.entries(cursors)) {
      if (
        leftRooms.has(room) ||
        !hasShape(cursor, SHAPES.cursor) ||
        !isUnchanged(room) ||
        !this.#cursors.has(room)
      )
        continue;
      this.#cursors.set(room, cursor as Cursor);
      this.#deliver({ ...(cursor as Cursor), type: "room:caught_up", room });
    }
    if (websocket !== undefined && !this.#closed) this.#host.hint(websocket);
  }

  #flush(): void {
    if (this.#sending >= MAX_COMMAND_POLLS) return;
    const commands: ClientFrame[] = [];
    let bytes = 0;
    let full = false;
    this.#queue = this.#queue.filter((frame) => {
      if (full || this.#busyLanes.has(laneOf(frame))) return true;
      bytes += jsonByteLength(frame);
      // Once a command does not fit, all later commands wait too, so that they keep their order.
      full = commands.length > 0 && (commands.length >= this.#maxCommands || bytes > MAX_COMMAND_BYTES);
      if (!full) commands.push(frame);
      return full;
    });
    if (!commands.length) return;
    const lanes = commands.map(laneOf);
    for (const name of lanes) this.#busyLanes.add(name);
    this.#sending++;
    const handleRefusal = (status: number | undefined) => {
      if (status !== 413 && status !== 429) return false;
      // A proxy may accept less than the server, so the next polls carry at most half as many commands.
      if (status === 413) this.#maxCommands = Math.max(1, commands.length >> 1);
      if (status === 429 || commands.length > 1) this.#queue.unshift(...commands);
      else this.#deliver({ type: "error", ref: commands[0]?.ref, code: "too_large" });
      return true;
    };
    void this.#post(new AbortController(), COMMAND_POLL_TIMEOUT_MS, { commands }, handleRefusal).then(
      (answer) => {
        this.#sending--;
        for (const name of lanes) this.#busyLanes.delete(name);
        for (const frame of answer?.answers ?? []) this.#deliver(frame);
        if (!this.#closed) this.#flush();
      },
    );
  }

  /**
   * Sends one poll. Returns undefined if the poll was aborted or has failed. A failure closes the link, unless
   * `handled` returns true for the HTTP status.
   */
  async #post(
    controller: AbortController,
    timeoutMs: number,
    body: object,
    handled: (status: number | undefined) => boolean = (status) => status === 429,
  ): Promise<PollAnswer | undefined> {
    this.#polls.add(controller);
    try {
      const answer = await this.#call(controller.signal, timeoutMs, body);
      return this.#closed ? undefined : assertShape(answer, ANSWER_SHAPE);
    } catch (thrown) {
      const error = asError(thrown);
      const { code, status, retryAfterMs, message } = error;
      if (this.#closed || code === "closed") return undefined;
      // After a rate limit only this poll waits. The link stays open and keeps its rooms.
      if (status === 429) await pause(this.#env.timers, retryAfterMs ?? 1_000).done;
      if (!handled(status)) {
        this.close();
        this.#host.closed(status ? (CLOSE_CODES[status] ?? 1013) : 1006, message, error);
      }
      return undefined;
    } finally {
      this.#polls.delete(controller);
    }
  }

  /**
   * Calls the server, and repeats a poll once with a new token if its token is refused. Unlike a WebSocket, a poll gets
   * no warning before its token expires.
   */
  async #call(signal: AbortSignal, timeoutMs: number, body: object, mayRetry = true): Promise<PollAnswer> {
    const env = this.#env;
    const token = await this.#tokens.get();
    try {
      return await callHttp(env, `${await env.gateway()}/v1/poll`, {
        method: "POST",
        token,
        body: { ...body, timeout_ms: timeoutMs },
        ms: timeoutMs + NETWORK_GRACE_MS,
        signal,
      });
    } catch (thrown) {
      const error = asError(thrown);
      if (error.status !== 401) throw error;
      this.#tokens.refuse(error, token);
      // Retries here only after the first answer. Until then `ServerConnection` retries with a new token.
      if (!mayRetry || this.#roomsVersion === undefined || this.#closed) throw error;
      // The new token may belong to another user, so an empty poll asks for its user before anything is sent or
      // delivered.
      const { user } = assertShape(await this.#call(signal, 0, {}, false), ANSWER_SHAPE);
      if (user !== this.#user) throw error;
      return this.#call(signal, timeoutMs, body, false);
    }
  }
}
