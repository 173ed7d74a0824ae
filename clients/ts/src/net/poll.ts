import type { Env } from "../env.js";
import { asError } from "../errors.js";
import { asFrame, assertShape, filterShape, hasShape, isEvent, SHAPES } from "../protocol/check.js";
import type { ClientFrame } from "../protocol/frames.js";
import type { Cursor, Limits } from "../protocol/objects.js";
import { pause } from "../timers.js";
import { jsonBytes } from "./frame-size.js";
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
  readonly limits: Limits;
}

type Cursors = ReadonlyMap<string, Cursor | null>;

/** How long the server may wait before it answers a poll for events and a poll with commands, in milliseconds. */
const EVENT_POLL_MS = 20_000;
const COMMAND_POLL_MS = 5_000;
/** The time for the network that is added to the time limit of a poll, in milliseconds. */
const NETWORK_GRACE_MS = 5_000;
/** The most commands in one poll, and the most bytes of these commands. The server accepts 256 KiB per request. */
const MAX_COMMANDS = 100;
const MAX_COMMAND_BYTES = 200 * 1_024;
/** The most concurrent polls with commands. The server allows 32 polls per user. */
const MAX_COMMAND_POLLS = 4;
/** The shape (the required fields) of the answer to a poll. */
const ANSWER_SHAPE = "events:a cursors:o answers:a failed:a rooms_version user server_time limits:o";
/** The WebSocket close code for each HTTP status of a refused poll. */
const CLOSE_CODES: { readonly [status: number]: number } = { 400: 1007, 401: 4401, 403: 4403, 413: 1009 };

/**
 * Returns the lane of a command. Commands of one lane never run in two polls at the same time, so that their order
 * stays. Each `message:send` has its own lane, because the outbox keeps the order of messages.
 */
const lane = (frame: ClientFrame): string =>
  frame.type === "message:send" ? frame.client_id : ((frame as { room?: string }).room ?? "");

/**
 * A link that polls. One poll waits for events. Commands go in separate polls, so that they do not wait for events. The
 * cursors advance only with a complete answer, so that a lost answer loses no events.
 */
export class PollLink implements Link {
  readonly kind = "poll";
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
  #maxCommands = MAX_COMMANDS;
  #sending = 0;

  constructor(env: Env, tokens: Tokens, host: LinkHost) {
    this.#env = env;
    this.#tokens = tokens;
    this.#host = host;
    void this.#pollEvents();
  }

  send(frame: ClientFrame): void {
    if (frame.type === "room:join" || frame.type === "room:leave") {
      // A poll must name its rooms, so a join of `mine` joins no room.
      const named = frame.room ? [frame.room] : (frame.rooms ?? []);
      const rooms = typeof named === "string" ? [] : named;
      const join = frame.type === "room:join";
      for (const room of rooms) {
        const after = join
          ? frame.room
            ? frame.after
            : (frame.after as { [room: string]: Cursor })?.[room]
          : null;
        if (join) this.#cursors.set(room, (after as Cursor | undefined) ?? null);
        else this.#cursors.delete(room);
      }
      queueMicrotask(() => {
        const { ref } = frame;
        if (join)
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
      const timeout = this.#answerAtOnce ? 0 : EVENT_POLL_MS;
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
    // False for a room that was joined again or left during the poll. The answer must not move the cursor of this room.
    const same = (room: string) => this.#cursors.get(room) === requestCursors.get(room);
    const left = new Set<string>();
    const leave = (room: string) => {
      left.add(room);
      if (same(room)) this.#cursors.delete(room);
    };
    const refused = filterShape<{ room: string }>(failed, SHAPES.failed);
    for (const { room } of refused) leave(room);
    if (refused.length) this.#deliver({ type: "room:joined", rooms: [], failed: refused });
    for (const event of events) {
      const frame = asFrame(event);
      // Skips events of a room that was joined again during this poll. The replay after
      // the new join brings them in order.
      if (frame && isEvent(frame) && !same(frame.room)) continue;
      // Polls omit a room with a gap until the room has read the missing events and joins again.
      if (frame?.type === "room:gap") leave(frame.room);
      this.#deliver(event);
    }
    for (const [room, cursor] of Object.entries(cursors)) {
      if (left.has(room) || !hasShape(cursor, SHAPES.cursor) || !same(room) || !this.#cursors.has(room))
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
      if (full || this.#busyLanes.has(lane(frame))) return true;
      bytes += jsonBytes(frame);
      // Once a command does not fit, all later commands wait too, so that they keep their order.
      full = commands.length > 0 && (commands.length >= this.#maxCommands || bytes > MAX_COMMAND_BYTES);
      if (!full) commands.push(frame);
      return full;
    });
    if (!commands.length) return;
    const lanes = commands.map(lane);
    for (const name of lanes) this.#busyLanes.add(name);
    this.#sending++;
    const refused = (status: number | undefined) => {
      if (status !== 413 && status !== 429) return false;
      // A proxy may accept less than the server, so the next polls carry at most half as many commands.
      if (status === 413) this.#maxCommands = Math.max(1, commands.length >> 1);
      if (status === 429 || commands.length > 1) this.#queue.unshift(...commands);
      else this.#deliver({ type: "error", ref: commands[0]?.ref, code: "too_large" });
      return true;
    };
    void this.#post(new AbortController(), COMMAND_POLL_MS, { commands }, refused).then((answer) => {
      this.#sending--;
      for (const name of lanes) this.#busyLanes.delete(name);
      for (const frame of answer?.answers ?? []) this.#deliver(frame);
      if (!this.#closed) this.#flush();
    });
  }

  /**
   * Sends one poll. Returns undefined if the poll was aborted or has failed. A failure closes the link, unless
   * `handled` returns true for the HTTP status.
   */
  async #post(
    controller: AbortController,
    timeout_ms: number,
    body: object,
    handled: (status: number | undefined) => boolean = (status) => status === 429,
  ): Promise<PollAnswer | undefined> {
    this.#polls.add(controller);
    try {
      const answer = await this.#call(controller.signal, timeout_ms, body);
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
  async #call(signal: AbortSignal, timeout_ms: number, body: object, refused?: string): Promise<PollAnswer> {
    const env = this.#env;
    const token = await this.#tokens.get(refused);
    try {
      return await callHttp(env, `${await env.gateway()}/v1/poll`, {
        method: "POST",
        token,
        body: { ...body, timeout_ms },
        ms: timeout_ms + NETWORK_GRACE_MS,
        signal,
      });
    } catch (thrown) {
      // Retries here only after the first answer. Before it, `ServerConnection` retries with a new token.
      const again = this.#roomsVersion !== undefined && refused === undefined && !this.#closed;
      if (!again || asError(thrown).status !== 401) throw thrown;
      // The new token may belong to another user. An empty poll checks its user before anything is sent or delivered.
      const { user } = assertShape(await this.#call(signal, 0, {}, token), ANSWER_SHAPE);
      if (user !== this.#user) throw thrown;
      return this.#call(signal, timeout_ms, body, token);
    }
  }
}
