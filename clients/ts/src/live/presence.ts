import type { Core } from "../core.js";
import type { Feature } from "../feature.js";
import { filterShape, SHAPES } from "../protocol/check.js";
import type { JoinedRoom, ServerFrame } from "../protocol/frames.js";
import type { PresenceObject } from "../protocol/objects.js";
import { type Cell, cell } from "../store.js";
import { retryUntilDone, Timer } from "../timers.js";
import type { Presence, PresenceState, Store } from "../types.js";

/** The most users in one `presence:get` request. */
const MAX_USERS_PER_REQUEST = 100;
/**
 * The first and the longest pause before the presence of new members, and of users whom an answer left out, is
 * requested again, in milliseconds. Each pause doubles.
 */
const FIRST_REPEAT_DELAY_MS = 1_000;
const MAX_REPEAT_DELAY_MS = 60_000;

/** The presence of each user, once the server has sent it. */
export class PresenceFeature implements Feature, Presence {
  readonly #core: Core;
  readonly #users = new Map<string, Cell<PresenceState | undefined>>();
  readonly #watched = new Map<string, number>();
  #queuedUsers = new Set<string>();
  readonly #requestedAgain = new Set<string>();
  readonly #repeatTimer: Timer;
  #requesting = false;

  constructor(core: Core) {
    this.#core = core;
    this.#repeatTimer = new Timer(core.env.timers);
  }

  of(user: string): Store<PresenceState | undefined> {
    return this.#cell(user);
  }

  watch(users: readonly string[]): () => void {
    for (const user of users) {
      this.#watched.set(user, (this.#watched.get(user) ?? 0) + 1);
      this.#queuedUsers.add(user);
    }
    void this.#requestQueued();
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
    this.#core.ownPresence.choose(status);
  }

  /**
   * Requests the presence of watched users, and of users who were last known as online or away, because the client has
   * missed changes while it was disconnected.
   */
  up(): void {
    const notOffline = [...this.#users].filter(
      ([, state]) => state.get() && state.get()?.status !== "offline",
    );
    this.#queuedUsers = new Set([...this.#watched.keys(), ...notOffline.map(([user]) => user)]);
    void this.#requestQueued();
  }

  frame(frame: ServerFrame): void {
    if (frame.type === "presence") this.#apply([frame]);
    if (frame.type === "member:added") {
      this.#requestedAgain.add(frame.user);
      this.#requestAgainIn(FIRST_REPEAT_DELAY_MS);
    }
    if (frame.type !== "room:joined") return;
    for (const { online } of filterShape<JoinedRoom>(frame.rooms, SHAPES.joined)) {
      this.#apply(online?.map((user) => ({ last_seen: null, ...user })));
    }
  }

  /** Stops the repeated requests, because the client is disconnected. */
  down(): void {
    this.#repeatTimer.clear();
    this.#requestedAgain.clear();
  }

  /** Drops the presence of all users, because another user has connected. */
  userChanged(): void {
    for (const state of this.#users.values()) state.set(undefined);
  }

  /** Stores the presence of the users in `list`, and removes them from `missing`. */
  #apply(list: unknown, missing?: Set<string>): void {
    for (const { user, status, last_seen } of filterShape<PresenceObject>(list, "user status last_seen?")) {
      missing?.delete(user);
      const state = this.#cell(user);
      const before = state.get();
      const lastSeen = last_seen ? Date.parse(last_seen) : null;
      if (status !== "offline" || last_seen) this.#requestedAgain.delete(user);
      if (before?.status !== status || before.lastSeen !== lastSeen) state.set({ status, lastSeen });
    }
  }

  /**
   * Requests the presence of new members, and of users whom an answer left out, with growing pauses. Until PostgreSQL
   * has stored a new membership, the server reports the user as offline without `last_seen`, so the kit repeats the
   * request until the answer differs.
   */
  #requestAgainIn(ms: number): void {
    this.#repeatTimer.set(ms, () => {
      for (const user of this.#requestedAgain) {
        if (this.#watched.has(user)) this.#queuedUsers.add(user);
        else this.#requestedAgain.delete(user);
      }
      if (this.#requestedAgain.size && ms < MAX_REPEAT_DELAY_MS) this.#requestAgainIn(2 * ms);
      void this.#requestQueued();
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

  async #requestQueued(): Promise<void> {
    const { connection, env } = this.#core;
    if (this.#requesting) return;
    this.#requesting = true;
    // Waits for one microtask, so that users that are watched at the same moment share one request.
    await Promise.resolve();
    while (this.#queuedUsers.size && connection.up) {
      const users = [...this.#queuedUsers].slice(0, MAX_USERS_PER_REQUEST);
      for (const user of users) this.#queuedUsers.delete(user);
      try {
        const answer = await retryUntilDone(
          env,
          () => connection.up,
          () => connection.request({ type: "presence:get", users }),
        );
        if (answer?.type !== "presence:list") continue;
        // The server leaves out users whose presence it cannot read now.
        const missing = new Set(users);
        this.#apply(answer.users, missing);
        for (const user of missing) this.#requestedAgain.add(user);
        if (missing.size && !this.#repeatTimer.pending) this.#requestAgainIn(FIRST_REPEAT_DELAY_MS);
      } catch (thrown) {
        env.report(thrown);
      }
    }
    this.#requesting = false;
  }
}
