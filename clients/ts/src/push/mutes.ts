import type { Core } from "../core.js";
import { asError, TidingsError } from "../errors.js";
import type { Feature } from "../feature.js";
import type { Http } from "../net/http.js";
import { assertShape, filterShape } from "../protocol/check.js";
import { cell } from "../store.js";
import { Timer } from "../timers.js";
import type { MutedRooms, Mutes } from "./types.js";

/** A muted room as the server describes it. */
interface MuteObject {
  readonly room: string;
  readonly until?: string | null;
}

type Entry = readonly [room: string, until: number | null];

const MUTES_PATH = "/me/mutes";
const MUTE_SHAPE = "room until?";

const mutePath = (room: string) => `${MUTES_PATH}/${encodeURIComponent(room)}`;
const toEntry = ({ room, until }: MuteObject): Entry => [room, Date.parse(until ?? "") || null];

/** The muted rooms of the current user. */
export class MutesFeature implements Feature, Mutes {
  readonly #core: Core;
  /** Runs at `#firstEnd`. It is set only while there are listeners. */
  readonly #timer: Timer;
  #rooms: MutedRooms | undefined;
  /** When the first of the mutes ends. */
  #firstEnd = Number.POSITIVE_INFINITY;
  readonly #version = cell(0);
  /** The last request, which the next one waits for, so that no answer is older than what is shown. */
  #lastRequest: Promise<unknown> = Promise.resolve();

  constructor(core: Core) {
    this.#core = core;
    this.#timer = new Timer(core.env.timers);
  }

  /** Drops the mutes that have ended, because the timer may be late or not set. */
  readonly get = (): MutedRooms | undefined => {
    const now = this.#core.env.timers.now();
    if (this.#rooms && now >= this.#firstEnd)
      this.#keep(new Map([...this.#rooms].filter(([, until]) => until === null || until > now)));
    return this.#rooms;
  };

  readonly subscribe = (listener: () => void): (() => void) => {
    const removeListener = this.#version.subscribe(listener);
    this.#setTimer();
    return () => {
      removeListener();
      this.#setTimer();
    };
  };

  readonly load = (): Promise<MutedRooms> => this.#inTurn((http) => this.#read(http));

  readonly mute = (room: string, until?: number): Promise<void> =>
    this.#inTurn(async (http) => {
      const body = until === undefined ? {} : { until: new Date(until).toISOString() };
      const before = this.get() ?? (await this.#read(http));
      const mute = assertShape(await http<MuteObject>("PUT", mutePath(room), body), MUTE_SHAPE);
      this.#show([...before, toEntry(mute)]);
    });

  readonly unmute = (room: string): Promise<void> =>
    this.#inTurn(async (http) => {
      const before = this.get() ?? (await this.#read(http));
      await http("DELETE", mutePath(room)).catch((error: TidingsError) => {
        // The mute may have ended, or another device may have removed it.
        if (error.code !== "not_found") throw error;
      });
      this.#show([...before].filter(([id]) => id !== room));
    });

  /** Drops the rooms, because another user has connected. */
  userChanged(): void {
    this.#lastRequest = Promise.resolve();
    this.#keep(undefined);
    this.#notify();
  }

  async #read(http: Http): Promise<MutedRooms> {
    const answer = await http<{ mutes?: unknown }>("GET", MUTES_PATH);
    return this.#show(filterShape<MuteObject>(answer?.mutes, MUTE_SHAPE).map(toEntry));
  }

  /** Runs requests after the earlier ones. They reject if the user has signed out since the call. */
  #inTurn<T>(work: (http: Http) => Promise<T>): Promise<T> {
    const { http, tokens } = this.#core;
    const generation = tokens.generation();
    // A request must not be sent with the token of the next user, and that user must not see its answer.
    const checkUser = () => {
      if (generation !== tokens.generation()) throw new TidingsError("disconnected");
    };
    const checkedHttp: Http = async (...request) => {
      checkUser();
      return http<never>(...request).finally(checkUser);
    };
    const result = this.#lastRequest
      .then(() => work(checkedHttp))
      .catch((thrown) => {
        // Requests reject with TidingsError, and `toISOString` throws for a number that is no time.
        throw asError(thrown, "bad_request");
      });
    this.#lastRequest = result.catch(() => {});
    return result;
  }

  #keep(rooms: MutedRooms | undefined): void {
    this.#rooms = rooms;
    this.#firstEnd = Math.min(
      ...[...(rooms?.values() ?? [])].map((until) => until ?? Number.POSITIVE_INFINITY),
    );
  }

  /** Shows these rooms to the listeners, and returns them. */
  #show(entries: readonly Entry[]): MutedRooms {
    const rooms = new Map(entries);
    this.#keep(rooms);
    this.#notify();
    return this.get() ?? rooms;
  }

  #notify(): void {
    this.get();
    this.#version.set(this.#version.get() + 1);
    this.#setTimer();
  }

  #setTimer(): void {
    this.#timer.clear();
    if (this.#version.watched() && this.#firstEnd < Number.POSITIVE_INFINITY)
      this.#timer.set(this.#firstEnd - this.#core.env.timers.now(), () => this.#notify());
  }
}
