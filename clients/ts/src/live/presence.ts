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
 * The first and the longest pause before the presence of new members is requested, in milliseconds. Each pause doubles.
 */
const FIRST_NEW_MEMBER_DELAY_MS = 1_000;
const MAX_NEW_MEMBER_DELAY_MS = 60_000;

/** The presence of each user, once the server has sent it. */
export class PresenceFeature implements Feature, Presence {
  readonly #core: Core;
  readonly #users = new Map<string, Cell<PresenceState | undefined>>();
  readonly #watched = new Map<string, number>();
  #queuedUsers = new Set<string>();
  readonly #newMembers = new Set<string>();
  readonly #newMemberTimer: Timer;
  #requesting = false;
  #ownStatus: "online" | "away" | undefined;

  constructor(core: Core) {
    this.#core = core;
    this.#newMemberTimer = new Timer(core.env.timers);
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
    this.#ownStatus = status;
    this.#core.connection.send({ type: "presence:set", status });
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
    if (this.#ownStatus) this.set(this.#ownStatus);
  }

  frame(frame: ServerFrame): void {
    if (frame.type === "presence") this.#apply([frame]);
    if (frame.type === "member:added") {
      this.#newMembers.add(frame.user);
      this.#requestNewMembersIn(FIRST_NEW_MEMBER_DELAY_MS);
    }
    if (frame.type !== "room:joined") return;
    for (const { online } of filterShape<JoinedRoom>(frame.rooms, SHAPES.joined)) {
      this.#apply(online?.map((user) => ({ last_seen: null, ...user })));
    }
  }

  /** Stops the requests for new members, because the client is disconnected. */
  down(): void {
    this.#newMemberTimer.clear();
    this.#newMembers.clear();
  }

  /** Drops the presence of all users, because another user has connected. */
  userChanged(): void {
    this.#ownStatus = undefined;
    for (const state of this.#users.values()) state.set(undefined);
  }

  /** Stores the presence of the users in `list`. */
  #apply(list: unknown): void {
    for (const { user, status, last_seen } of filterShape<PresenceObject>(list, "user status last_seen?")) {
      const state = this.#cell(user);
      const before = state.get();
      const lastSeen = last_seen ? Date.parse(last_seen) : null;
      if (status !== "offline" || last_seen) this.#newMembers.delete(user);
      if (before?.status !== status || before.lastSeen !== lastSeen) state.set({ status, lastSeen });
    }
  }

  /**
   * Requests the presence of new members, with growing pauses. Until PostgreSQL has stored a new membership, the server
   * reports the user as offline without `last_seen`, so the kit repeats the request until the answer differs.
   */
  #requestNewMembersIn(ms: number): void {
    this.#newMemberTimer.set(ms, () => {
      for (const user of this.#newMembers) {
        if (this.#watched.has(user)) this.#queuedUsers.add(user);
        else this.#newMembers.delete(user);
      }
      if (this.#newMembers.size && ms < MAX_NEW_MEMBER_DELAY_MS) this.#requestNewMembersIn(2 * ms);
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
        if (answer?.type === "presence:list") this.#apply(answer.users);
      } catch (thrown) {
        env.report(thrown);
      }
    }
    this.#requesting = false;
  }
}
