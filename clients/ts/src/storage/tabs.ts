import type { Env } from "../env.js";
import { TidingsError } from "../errors.js";
import type { Entry } from "../outbox/entry.js";
import type { Keeper } from "../outbox/keeper.js";
import { Alarm, pause } from "../timers.js";
import type { StorageAdapter } from "../types.js";
import { deserialize, serialize } from "./written.js";

/** How often a tab says that it lives, and after how long without it is taken for dead, in milliseconds. */
const REFRESH_MS = 5_000;
const DEAD_MS = 20_000;
/** Who takes the place of another in the same page looks before that one has let go: it looks once more. */
const AGAIN_MS = 2_000;
/** A storage that takes longer than this, in milliseconds, is not waited for. */
const PATIENCE_MS = 2_000;

/**
 * Keeps entries in a storage that several tabs share. Each has a key of its own, and belongs to one tab,
 * which says every few seconds that it lives. What a dead tab leaves is taken over by another. Should the
 * dead one wake up, both send under the same client id: for the server that is one message.
 */
export class Tabs implements Keeper {
  readonly #storage: StorageAdapter;
  readonly #env: Env;
  readonly #adopt: (entry: Entry) => boolean;
  readonly #tab: string;
  readonly #prefix: string;
  /** What is written of each entry of this tab, one after the other. */
  readonly #mine = new Map<string, Promise<unknown>>();
  readonly #beat: Alarm;
  readonly #scan: Alarm;
  /** The lapses before an entry of this tab was written; of what was taken over there is none. */
  readonly #lapsesAt = new Map<string, number | undefined>();
  #beaten = 0;
  #lapses = 0;
  #lookAt = 0;
  #stopped = false;
  #forget: (() => void)[] | undefined;

  constructor(storage: StorageAdapter, env: Env, tab: string, adopt: (entry: Entry) => boolean) {
    this.#storage = storage;
    this.#env = env;
    this.#adopt = adopt;
    this.#tab = tab;
    this.#prefix = `tidings/${env.account ?? "default"}/`;
    this.#beat = new Alarm(env.timers);
    this.#scan = new Alarm(env.timers);
  }

  /** A tab that may have been taken for dead cannot know what others sent. */
  unsure(clientId: string): boolean {
    return this.#lapsesAt.get(clientId) !== this.#lapsed();
  }

  /** Differs once this tab may have been taken for dead. */
  #lapsed(): number {
    if (this.#env.timers.now() - this.#beaten > DEAD_MS / 2) this.#lapses++;
    return this.#lapses;
  }

  async start(told: (user: string | undefined) => void): Promise<void> {
    const { lifecycle } = this.#env;
    this.#stopped = false;
    const user = await this.#try((storage) => storage.getItem(`${this.#prefix}user`));
    // Stopped meanwhile: what is there is for others.
    if (this.#stopped) return;
    told(user ?? undefined);
    this.#forget ??= [
      lifecycle.subscribe((event) => {
        if (event === "hide") this.#release();
        // What comes behind it, as `hidden` does where a page is left, does not bring it back.
        else if (event === "visible" && this.#mine.size) this.#live();
      }),
      this.#hear(),
    ];
    await this.#look(AGAIN_MS);
  }

  stop(): void {
    for (const forget of this.#forget ?? []) forget();
    this.#forget = undefined;
    this.#stopped = true;
    this.#scan.clear();
    this.#release();
  }

  async save(entry: Entry): Promise<void> {
    const { clientId } = entry;
    const text = serialize(entry, this.#tab);
    const before = this.#mine.get(clientId);
    const write = () => this.#try((storage) => storage.setItem(this.#out(clientId), text));
    const done = before ? before.then(write) : write();
    this.#mine.set(clientId, done);
    this.#live();
    if (!this.#lapsesAt.has(clientId)) this.#lapsesAt.set(clientId, this.#lapsed());
    const patience = pause(this.#env.timers, PATIENCE_MS);
    await Promise.race([done, patience.done]);
    patience.end();
  }

  remove(clientId: string): void {
    const before = this.#mine.get(clientId) ?? Promise.resolve();
    void before.then(() => this.#try((storage) => storage.removeItem(this.#out(clientId))));
    this.#leave(clientId);
  }

  leave({ clientId }: Entry): void {
    this.#leave(clientId);
  }

  #leave(clientId: string): void {
    this.#mine.delete(clientId);
    this.#lapsesAt.delete(clientId);
    if (!this.#mine.size) this.#release();
  }

  known(user: string): void {
    void this.#try((storage) => storage.setItem(`${this.#prefix}user`, user));
  }

  #out(clientId: string): string {
    return `${this.#prefix}out/${clientId}`;
  }

  async #try<T>(work: (storage: StorageAdapter) => T | Promise<T>): Promise<T | undefined> {
    try {
      return await work(this.#storage);
    } catch (cause) {
      this.#failed(cause);
      return undefined;
    }
  }

  #failed(cause: unknown): void {
    this.#env.report(new TidingsError("internal", "the storage of the outbox failed", { cause }));
  }

  /** Hears of what other tabs write. */
  #hear(): () => void {
    try {
      const heard = (key: string | null) => {
        if (key === null || key.startsWith(this.#prefix)) this.#lookIn(REFRESH_MS);
      };
      return this.#storage.subscribe?.(heard) ?? (() => {});
    } catch (cause) {
      this.#failed(cause);
      return () => {};
    }
  }

  /** Says that this tab lives, for as long as it has entries. */
  #live(): void {
    if (this.#beat.on || this.#stopped) return;
    const beat = () => {
      const now = this.#env.timers.now();
      // Late timers are those of a tab that was put to sleep.
      if (now - this.#beaten > DEAD_MS / 2) this.#lapses++;
      this.#beaten = now;
      void this.#try((storage) => storage.setItem(`${this.#prefix}tab/${this.#tab}`, `${now}`));
      this.#beat.set(REFRESH_MS, beat);
    };
    beat();
  }

  #release(): void {
    if (!this.#beat.on) return;
    this.#beat.clear();
    this.#lapses++;
    void this.#try((storage) => storage.removeItem(`${this.#prefix}tab/${this.#tab}`));
  }

  /** Looks in that many milliseconds, or earlier where it would anyway. */
  #lookIn(ms: number): void {
    const { timers, random } = this.#env;
    const at = timers.now() + ms;
    if (!this.#forget || (this.#scan.on && this.#lookAt <= at)) return;
    this.#lookAt = at;
    this.#scan.set(ms, () => void this.#look(DEAD_MS + random() * REFRESH_MS));
  }

  /** Looks, and once more after `next` milliseconds. */
  async #look(next: number): Promise<void> {
    const { timers, report } = this.#env;
    const keys = (await this.#try((storage) => (storage.keys ?? storage.getAllKeys)?.call(storage))) ?? [];
    const start = this.#out("");
    const lease = (tab: string) => `${this.#prefix}tab/${tab}`;
    const lives = async (key: string) => {
      const beaten = Number(await this.#try((storage) => storage.getItem(key)));
      // A time in the future is that of a clock that was set back: as good as none.
      return Math.abs(timers.now() - beaten) < DEAD_MS;
    };
    for (const key of [...keys].sort()) {
      if (key.startsWith(lease("")) && key !== lease(this.#tab) && !(await lives(key))) {
        await this.#try((storage) => storage.removeItem(key));
      }
      if (!key.startsWith(start) || this.#mine.has(key.slice(start.length))) continue;
      const read = () => this.#try((storage) => storage.getItem(key));
      const text = await read();
      if (!text) continue;
      const kept = deserialize(text);
      if (!kept || this.#out(kept.entry.clientId) !== key) {
        report(new TidingsError("internal", "an entry of the outbox is damaged"));
        await this.#try((storage) => storage.removeItem(key));
      } else if (
        !(await lives(lease(kept.owner))) &&
        // Its tab may have been done with it before it ended.
        (await read()) === text &&
        this.#forget &&
        !this.#mine.has(kept.entry.clientId)
      ) {
        // Nobody can say who wrote it: only the one who is here may send it, and must say so.
        if (kept.entry.user === undefined)
          kept.entry.error ??= new TidingsError("unauthorized", "written before it was known by whom");
        this.#lapsesAt.set(kept.entry.clientId, undefined);
        if (!this.#adopt(kept.entry)) this.#lapsesAt.delete(kept.entry.clientId);
      }
    }
    this.#lookIn(next);
  }
}
