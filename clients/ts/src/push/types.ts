/** The public types of muted rooms in the entry `push`. */
import type { Store } from "../types.js";

/**
 * The muted rooms by their ids, each with the time of its end in milliseconds since 1970. It is null if the room stays
 * muted until the user unmutes it.
 */
export type MutedRooms = ReadonlyMap<string, number | null>;

/**
 * The rooms of which the current user gets no push messages, not even for mentions. The value is undefined until the
 * list is loaded. It then follows the changes of this client, and a room leaves it when its time ends. Changes on
 * other devices are in it after the next `load`.
 */
export interface Mutes extends Store<MutedRooms | undefined> {
  /** Reads the muted rooms. Rejects with TidingsError, `not_found` if the server has no push. */
  readonly load: () => Promise<MutedRooms>;
  /**
   * Mutes a room until a time in milliseconds since 1970, by default until the user unmutes it. The time of a room that
   * is muted already changes. Rejects with TidingsError.
   */
  readonly mute: (room: string, until?: number) => Promise<void>;
  /** Unmutes a room. Does nothing if it is not muted. Rejects with TidingsError. */
  readonly unmute: (room: string) => Promise<void>;
}
