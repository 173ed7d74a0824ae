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

/** How long a poll for events and a poll for answers may wait at the server, in milliseconds. */
const EVENT_POLL_MS = 20_000;
const COMMAND_POLL_MS = 5_000;
/** Additional time for the network, in milliseconds. */
const NETWORK_GRACE_MS = 5_000;
/** Commands per poll, and their bytes. The server accepts 256 KiB for the whole request. */
const MAX_COMMANDS = 100;
const MAX_COMMAND_BYTES = 200 * 1_024;
/** Concurrent polls with commands. The server allows 32 polls per user. */
const MAX_COMMAND_POLLS = 4;
/** The required fields of an answer. */
const ANSWER_SHAPE = "events:a cursors:o answers:a failed:a rooms_version user server_time limits:o";
/** The close codes that correspond to refused polls. */
const CLOSE_CODES: { readonly [status: number]: number } = { 400: 1007, 401: 4401, 403: 4403, 413: 1009 };

/**
 * Commands of one lane go in consecutive polls. Each send has its own lane, because the outbox keeps their
 * order.
 */
const lane = (frame: ClientFrame): string =>
  frame.type === "message:send" ? frame.client_id : ((frame as { room?: string }).room ?? "");

/**
 * A link that polls. One poll waits for events; commands go in separate polls, so that they need not wait for
 * it. The cursors advance only with a complete answer, so that a lost answer loses no events.
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
      // `mine` needs the list of rooms, which a poll does not have, so it joins no room.
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
        // The next poll names the new rooms and returns as soon as they have caught up.
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
      // The first poll is not aborted by joins, because its answer is the welcome.
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
    // A room that was rejoined meanwhile continues from the cursor of the new join.
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
      // Events of a room that was joined again during this poll come with that replay. Now they would be out of order.
      if (frame && isEvent(frame) && !same(frame.room)) continue;
      // The log fills the gap and rejoins with its own cursor.
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
      // Once a command does not fit, later ones wait too, so that the order stays.
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
      // A proxy may accept less than the server does.
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
   * Sends one poll. Returns undefined when the poll was aborted or rate limited, or when `handled` accepted the
   * refusal; any other refusal closes the link.
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
      // Too many polls delay only this poll; the joined rooms stay.
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
   * Polls get no warning before a token expires. A poll that is refused for it is repeated once with a new
   * token.
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
      // A token that is refused before the welcome is replaced by the connection.
      const again = this.#roomsVersion !== undefined && refused === undefined && !this.#closed;
      if (!again || asError(thrown).status !== 401) throw thrown;
      // The new token may belong to another user. An empty poll finds out before anything is sent or delivered.
      const { user } = assertShape(await this.#call(signal, 0, {}, token), ANSWER_SHAPE);
      if (user !== this.#user) throw thrown;
      return this.#call(signal, timeout_ms, body, token);
    }
  }
}
