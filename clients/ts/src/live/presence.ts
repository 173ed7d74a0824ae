import type { Core } from "../core.js";
import type { Part } from "../part.js";
import { FORMS, only } from "../protocol/check.js";
import type { JoinedRoom, ServerFrame } from "../protocol/frames.js";
import type { PresenceObject } from "../protocol/objects.js";
import { type Cell, cell } from "../store.js";
import { Alarm, insist } from "../timers.js";
import type { Presence, PresenceState, Store } from "../types.js";

/** So many users fit into one question. */
const BATCH = 100;
/** Pauses before newcomers are asked for, in milliseconds: each twice the one before. */
const NEWCOMERS_MS = 1_000;
const LONGEST_MS = 60_000;

/** Who is there, as far as it was told. */
export class PresencePart implements Part, Presence {
  readonly #core: Core;
  readonly #users = new Map<string, Cell<PresenceState | undefined>>();
  readonly #watched = new Map<string, number>();
  #asked = new Set<string>();
  readonly #newcomers = new Set<string>();
  readonly #late: Alarm;
  #asking = false;
  #own: "online" | "away" | undefined;

  constructor(core: Core) {
    this.#core = core;
    this.#late = new Alarm(core.env.timers);
  }

  of(user: string): Store<PresenceState | undefined> {
    return this.#cell(user);
  }

  watch(users: readonly string[]): () => void {
    for (const user of users) {
      this.#watched.set(user, (this.#watched.get(user) ?? 0) + 1);
      this.#asked.add(user);
    }
    void this.#ask();
    let released = false;
    return () => {
      if (released) return;
      released = true;
      for (const user of users) {
        const count = (this.#watched.get(user) ?? 1) - 1;
        if (count > 0) this.#watched.set(user, count);
        else this.#watched.delete(user);
      }
    };
  }

  set(status: "online" | "away"): void {
    this.#own = status;
    this.#core.connection.send({ type: "presence:set", status });
  }

  /** Connected, also again: what was pushed meanwhile was missed. */
  up(): void {
    const known = [...this.#users].filter(([, state]) => state.get() && state.get()?.status !== "offline");
    this.#asked = new Set([...this.#watched.keys(), ...known.map(([user]) => user)]);
    void this.#ask();
    if (this.#own) this.set(this.#own);
  }

  frame(frame: ServerFrame): void {
    if (frame.type === "presence") this.#heard([frame]);
    if (frame.type === "member:added") {
      this.#newcomers.add(frame.user);
      this.#lookIn(NEWCOMERS_MS);
    }
    if (frame.type !== "room:joined") return;
    for (const { online } of only<JoinedRoom>(frame.rooms, FORMS.joined)) {
      this.#heard(online?.map((user) => ({ last_seen: null, ...user })));
    }
  }

  /** Not connected any more. */
  down(): void {
    this.#late.clear();
    this.#newcomers.clear();
  }

  /** Somebody else is here now. */
  forget(): void {
    this.#own = undefined;
    for (const state of this.#users.values()) state.set(undefined);
  }

  /** What was told of some. */
  #heard(list: unknown): void {
    for (const { user, status, last_seen } of only<PresenceObject>(list, "user status last_seen?")) {
      const state = this.#cell(user);
      const before = state.get();
      const lastSeen = last_seen ? Date.parse(last_seen) : null;
      if (status !== "offline" || last_seen) this.#newcomers.delete(user);
      if (before?.status !== status || before.lastSeen !== lastSeen) state.set({ status, lastSeen });
    }
  }

  /**
   * Somebody is in a room now. Of who is asked for before that is stored one is told what is told of strangers:
   * they are asked for again, until something else is.
   */
  #lookIn(ms: number): void {
    this.#late.set(ms, () => {
      for (const user of this.#newcomers) {
        if (this.#watched.has(user)) this.#asked.add(user);
        else this.#newcomers.delete(user);
      }
      if (this.#newcomers.size && ms < LONGEST_MS) this.#lookIn(2 * ms);
      void this.#ask();
    });
  }

  #cell(user: string): Cell<PresenceState | undefined> {
    let state = this.#users.get(user);
    if (!state) {
      state = cell<PresenceState | undefined>(undefined);
      this.#users.set(user, state);
    }
    return state;
  }

  async #ask(): Promise<void> {
    const { connection, env } = this.#core;
    if (this.#asking) return;
    this.#asking = true;
    // Several that are watched in one moment are asked for together.
    await Promise.resolve();
    while (this.#asked.size && connection.up) {
      const users = [...this.#asked].slice(0, BATCH);
      for (const user of users) this.#asked.delete(user);
      try {
        const answer = await insist(
          env,
          () => connection.up,
          () => connection.request({ type: "presence:get", users }),
        );
        if (answer?.type === "presence:list") this.#heard(answer.users);
      } catch (thrown) {
        env.report(thrown);
      }
    }
    this.#asking = false;
  }
}
