import type { Feature } from "../feature.js";
import { omitNullish } from "../omit-nullish.js";
import { hasShape } from "../protocol/check.js";
import type { RoomImpl } from "../room/room.js";
import { cell } from "../store.js";
import type { Draft, DraftChange, DraftState, Message, StorageAdapter } from "../types.js";
import { replyAudience } from "./audience.js";

const EMPTY_DRAFT: DraftState = { content: "", attachments: [], audienceChosen: false };

/** The shape of a stored draft. The names of stored fields never change. */
const STORED_SHAPE = "v:n content attachments:a replyTo?:n visibleTo?:o mentions?:a user?";

/** The draft of one room: kept in the client's storage, shared with the other tabs, and cleared when it is sent. */
export class DraftFeature implements Feature, Draft {
  readonly #room: RoomImpl;
  readonly #state = cell<DraftState>(EMPTY_DRAFT);
  readonly #storage: StorageAdapter | undefined;
  readonly #key: string;
  /** The id of the user whose draft this is; undefined before the first connection. */
  #user: string | undefined;
  #writing: Promise<void> | undefined;
  #dirty = false;
  #changeCount = 0;
  #subscribers = 0;
  #unsubscribe: (() => void) | undefined;
  readonly get = this.#state.get;

  constructor(room: RoomImpl) {
    const { env, me } = room.core;
    const storage = env.storage as (Partial<StorageAdapter> & object) | undefined;
    this.#room = room;
    // A storage that the app implements itself may lack `getItem`. Drafts are then only in memory.
    this.#storage = storage?.getItem ? (storage as StorageAdapter) : undefined;
    this.#key = `tidings/${env.account ?? "default"}/draft/${room.id}`;
    this.#user = me()?.id;
    this.#read();
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    const removeListener = this.#state.subscribe(listener);
    if (this.#subscribers++ === 0) this.#listen();
    return () => {
      removeListener();
      if (--this.#subscribers === 0) this.#unsubscribe?.();
    };
  };

  readonly set = (change: DraftChange): void => {
    const before = this.#state.get();
    const choice = "visibleTo" in change ? { audienceChosen: change.visibleTo !== undefined } : {};
    this.#put(omitNullish({ ...before, ...choice, ...change }));
  };

  readonly reply = (message: Message): void => {
    const { seq: replyTo, visibleTo: originalAudience } = message;
    if (replyTo === undefined) return;
    // A reply to a public message keeps the audience of the draft, because a private draft must not become public by
    // itself.
    const audience = originalAudience && {
      visibleTo: replyAudience(message, this.#room.core.me()?.id),
      audienceChosen: false,
    };
    this.#put(omitNullish({ ...this.#state.get(), replyTo, ...audience }));
  };

  readonly clear = (): void => this.#put(EMPTY_DRAFT);

  readonly send: Draft["send"] = (options = {}) => {
    const { content, replyTo, visibleTo, mentions, attachments, audienceChosen } = this.#state.get();
    const message = this.#room.send(content.trim(), {
      ...omitNullish({ replyTo, mentions, attachments: attachments.length ? attachments : undefined }),
      // The draft says who sees the message, so the room must not add the audience of the original.
      visibleTo: visibleTo ?? "everyone",
      ...options,
    });
    this.#put(audienceChosen ? omitNullish({ ...EMPTY_DRAFT, visibleTo, audienceChosen }) : EMPTY_DRAFT);
    return message;
  };

  /** Hides the draft of another user. A draft from before the first connection belongs to the present user. */
  up(): void {
    const me = this.#room.core.me()?.id;
    if (this.#user === me) return;
    const userChanged = this.#user !== undefined;
    this.#user = me;
    if (!userChanged) return;
    this.#state.set(EMPTY_DRAFT);
    this.#read();
  }

  #put(next: DraftState): void {
    this.#changeCount++;
    this.#state.set(next);
    void this.#write();
  }

  /** Writes the present state. Changes that are made during a write are written together after that write. */
  async #write(): Promise<void> {
    this.#dirty = true;
    this.#writing ??= (async () => {
      while (this.#dirty) {
        this.#dirty = false;
        const { audienceChosen, ...state } = this.#state.get();
        const isEmpty =
          !state.content.trim() && !state.replyTo && !state.visibleTo && !state.attachments.length;
        const text = isEmpty ? "" : JSON.stringify({ v: 1, ...state, audienceChosen, user: this.#user });
        try {
          if (text) await this.#storage?.setItem(this.#key, text);
          else await this.#storage?.removeItem(this.#key);
        } catch (thrown) {
          // The draft stays in memory.
          this.#room.core.env.report(thrown);
        }
      }
      this.#writing = undefined;
    })();
    await this.#writing;
  }

  /**
   * Reads the stored draft, synchronously if the storage is synchronous. Ignores the stored draft if the user changes
   * the draft during the read.
   */
  #read(): void {
    const changesBefore = this.#changeCount;
    const apply = (text: string | null | undefined): void => {
      if (changesBefore === this.#changeCount && !this.#writing) this.#restore(text);
    };
    try {
      const text = this.#storage?.getItem(this.#key);
      if (text instanceof Promise) text.then(apply, (thrown) => this.#room.core.env.report(thrown));
      else apply(text);
    } catch (thrown) {
      this.#room.core.env.report(thrown);
    }
  }

  /** Replaces the state by a stored draft; by an empty one if the text is missing, damaged or of another user. */
  #restore(text: string | null | undefined): void {
    let next = EMPTY_DRAFT;
    try {
      const stored = text ? JSON.parse(text) : undefined;
      if (hasShape(stored, STORED_SHAPE)) {
        const { v: _, user, ...state } = stored as DraftState & { v: number; user?: string };
        const me = this.#room.core.me()?.id;
        // A draft of another user on this device stays in the storage and is not shown.
        if (user === undefined || me === undefined || user === me) next = { ...EMPTY_DRAFT, ...state };
        this.#user = me ?? user;
      }
    } catch {
      // A damaged draft counts as empty.
    }
    if (JSON.stringify(next) !== JSON.stringify(this.#state.get())) this.#state.set(next);
  }

  /** Subscribes to the changes of other tabs, and reads the changes that were made before. */
  #listen(): void {
    const onChange = (key: string | null): void => {
      if (key === null || key === this.#key) this.#read();
    };
    try {
      this.#unsubscribe = this.#storage?.subscribe?.(onChange);
    } catch (thrown) {
      this.#room.core.env.report(thrown);
    }
    this.#read();
  }
}
