import type { Env } from "../env.js";
import { asError } from "../errors.js";
import { asFrame, FORMS, has, isEvent, must, only } from "../protocol/check.js";
import type { ClientFrame } from "../protocol/frames.js";
import type { Cursor, Limits } from "../protocol/objects.js";
import { pause } from "../timers.js";
import { sizeOf } from "./fits.js";
import { call } from "./http.js";
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

/** How long a poll for events may stay, and one for the answers to commands, in milliseconds. */
const EVENTS_MS = 20_000;
const COMMANDS_MS = 5_000;
/** How much longer the network may take. */
const GRACE_MS = 5_000;
/** Commands of one poll, and their bytes: the server takes 256 KiB with all that is around them. */
const BATCH = 100;
const BATCH_BYTES = 200 * 1_024;
/** Polls with commands at one time; the server takes no more than 32 of one user. */
const AT_ONCE = 4;
/** What must be there of an answer. */
const FORM = "events:a cursors:o answers:a failed:a rooms_version user server_time limits:o";
/** What refused polls are as ends of a connection. */
const CODES: { readonly [status: number]: number } = { 400: 1007, 401: 4401, 403: 4403, 413: 1009 };

/** Commands of one lane go one poll after the other. Sends keep their order by themselves. */
const lane = (frame: ClientFrame): string =>
  frame.type === "message:send" ? frame.client_id : ((frame as { room?: string }).room ?? "");

/**
 * Polls, made to look like a connection. One poll waits for events; commands go in polls of their own,
 * so that they need not wait for it. The cursors are those of the last whole answer: a lost one costs nothing.
 */
export class PollLink implements Link {
  readonly kind = "poll";
  readonly #env: Env;
  readonly #tokens: Tokens;
  readonly #host: LinkHost;
  readonly #cursors = new Map<string, Cursor | null>();
  readonly #busy = new Set<string>();
  readonly #polls = new Set<AbortController>();
  #closed = false;
  #queue: ClientFrame[] = [];
  #version: string | undefined;
  #waiting: AbortController | undefined;
  #user: string | undefined;
  #fresh = true;
  #most = BATCH;
  #sending = 0;

  constructor(env: Env, tokens: Tokens, host: LinkHost) {
    this.#env = env;
    this.#tokens = tokens;
    this.#host = host;
    void this.#run();
  }

  send(frame: ClientFrame): void {
    if (frame.type === "room:join" || frame.type === "room:leave") {
      // Without the list of rooms there is no "mine": what is not named is not joined.
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
          this.#tell({ type: "room:joined", ref, rooms: rooms.map((room) => ({ room })), failed: [] });
        else this.#tell({ type: "room:left", ref, rooms });
        // The next poll names the rooms of now, and comes back as soon as they have caught up.
        this.#fresh = true;
        this.#waiting?.abort();
      });
    } else if (frame.type !== "auth") {
      // Each poll carries the token in use.
      this.#queue.push(frame);
      queueMicrotask(() => this.#flush());
    }
  }

  close(): void {
    this.#closed = true;
    for (const controller of this.#polls) controller.abort();
  }

  #tell(frame: unknown): void {
    if (!this.#closed) this.#host.frame(asFrame(frame));
  }

  async #run(): Promise<void> {
    while (!this.#closed) {
      const rooms_version = this.#version;
      const asked = new Map(this.#cursors);
      const timeout = this.#fresh ? 0 : EVENTS_MS;
      this.#fresh = false;
      const controller = new AbortController();
      // The welcome is waited for even if rooms are joined meanwhile.
      if (rooms_version !== undefined) this.#waiting = controller;
      const body = { cursors: Object.fromEntries(asked), rooms_version };
      const answer = await this.#post(controller, timeout, body);
      this.#waiting = undefined;
      if (!answer) continue;
      this.#version = answer.rooms_version;
      if (rooms_version === undefined) {
        this.#user = answer.user;
        this.#tell({ ...answer, type: "connected", heartbeat_ms: 0 });
      }
      this.#take(answer, asked);
    }
  }

  #take({ failed, events, cursors, websocket }: PollAnswer, asked: Cursors): void {
    // A room that was joined anew meanwhile begins where that said.
    const same = (room: string) => this.#cursors.get(room) === asked.get(room);
    const gone = new Set<string>();
    const leave = (room: string) => {
      gone.add(room);
      if (same(room)) this.#cursors.delete(room);
    };
    const refused = only<{ room: string }>(failed, FORMS.failed);
    for (const { room } of refused) leave(room);
    if (refused.length) this.#tell({ type: "room:joined", rooms: [], failed: refused });
    for (const event of events) {
      const frame = asFrame(event);
      // The replay of the later join has them all: until then they would stand ahead of it.
      if (frame && isEvent(frame) && !same(frame.room)) continue;
      // Who fills the gap joins again with a cursor of their own.
      if (frame?.type === "room:gap") leave(frame.room);
      this.#tell(event);
    }
    for (const [room, cursor] of Object.entries(cursors)) {
      if (gone.has(room) || !has(cursor, FORMS.cursor) || !same(room) || !this.#cursors.has(room)) continue;
      this.#cursors.set(room, cursor as Cursor);
      this.#tell({ ...(cursor as Cursor), type: "room:caught_up", room });
    }
    if (websocket !== undefined && !this.#closed) this.#host.websocket(websocket);
  }

  #flush(): void {
    if (this.#sending >= AT_ONCE) return;
    const commands: ClientFrame[] = [];
    let bytes = 0;
    let full = false;
    this.#queue = this.#queue.filter((frame) => {
      if (full || this.#busy.has(lane(frame))) return true;
      bytes += sizeOf(frame);
      // Nothing that is shorter goes before what does not fit any more.
      full = commands.length > 0 && (commands.length >= this.#most || bytes > BATCH_BYTES);
      if (!full) commands.push(frame);
      return full;
    });
    if (!commands.length) return;
    const lanes = commands.map(lane);
    for (const name of lanes) this.#busy.add(name);
    this.#sending++;
    const refused = (status: number | undefined) => {
      if (status !== 413 && status !== 429) return false;
      // Something on the way may take less than the server does.
      if (status === 413) this.#most = Math.max(1, commands.length >> 1);
      if (status === 429 || commands.length > 1) this.#queue.unshift(...commands);
      else this.#tell({ type: "error", ref: commands[0]?.ref, code: "too_large" });
      return true;
    };
    void this.#post(new AbortController(), COMMANDS_MS, { commands }, refused).then((answer) => {
      this.#sending--;
      for (const name of lanes) this.#busy.delete(name);
      for (const frame of answer?.answers ?? []) this.#tell(frame);
      if (!this.#closed) this.#flush();
    });
  }

  /**
   * One poll. Nothing comes of one that was ended, or refused for a while, or whose refusal was `taken`;
   * what ends the link is told.
   */
  async #post(
    controller: AbortController,
    timeout_ms: number,
    body: object,
    taken: (status: number | undefined) => boolean = (status) => status === 429,
  ): Promise<PollAnswer | undefined> {
    this.#polls.add(controller);
    try {
      const answer = await this.#call(controller.signal, timeout_ms, body);
      return this.#closed ? undefined : must(answer, FORM);
    } catch (thrown) {
      const error = asError(thrown);
      const { code, status, retryAfterMs, message } = error;
      if (this.#closed || code === "closed") return undefined;
      // Too many polls harm nothing but this poll: the rooms stay as they are.
      if (status === 429) await pause(this.#env.timers, retryAfterMs ?? 1_000).done;
      if (!taken(status)) {
        this.close();
        this.#host.closed(status ? (CODES[status] ?? 1013) : 1006, message, error);
      }
      return undefined;
    } finally {
      this.#polls.delete(controller);
    }
  }

  /** Nothing tells before a token ends while polling: a poll that finds out goes again with another one, once. */
  async #call(signal: AbortSignal, timeout_ms: number, body: object, refused?: string): Promise<PollAnswer> {
    const env = this.#env;
    const token = await this.#tokens.get(refused);
    try {
      return await call(env, `${await env.gateway()}/v1/poll`, {
        method: "POST",
        token,
        body: { ...body, timeout_ms },
        ms: timeout_ms + GRACE_MS,
        signal,
      });
    } catch (thrown) {
      // One that was refused before the welcome is for the attempt to replace.
      const again = this.#version !== undefined && refused === undefined && !this.#closed;
      if (!again || asError(thrown).status !== 401) throw thrown;
      // Only an answer tells whose the other token is: until then nothing is said or heard in their name.
      const { user } = must(await this.#call(signal, 0, {}, token), FORM);
      if (user !== this.#user) throw thrown;
      return this.#call(signal, timeout_ms, body, token);
    }
  }
}
