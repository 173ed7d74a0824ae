import type { Env } from "../env.js";
import { TidingsError } from "../errors.js";
import type { Entry } from "../outbox/entry.js";
import { pause, Timer } from "../timers.js";
import type { StorageAdapter } from "../types.js";
import { deserialize, serialize } from "./serialization.js";

/** How often a tab renews its lease (a key that shows that the tab is open), and how long a lease is valid, in ms. */
const LEASE_RENEW_MS = 5_000;
const LEASE_MS = 20_000;
/**
 * A new client in the same page may scan the storage before the old client has released its entries. The new client
 * therefore scans again after this time, in milliseconds.
 */
const SECOND_SCAN_DELAY_MS = 2_000;
/** The longest time that the kit waits for a write to the storage, in milliseconds. */
const MAX_WRITE_WAIT_MS = 2_000;

/** The methods that the outbox calls. Without the private fields of the class, any object with these methods fits. */
export type EntryStore = Pick<
  TabEntryStore,
  "mayHaveBeenSent" | "start" | "stop" | "save" | "remove" | "release" | "saveUser"
>;

/**
 * Keeps entries in a storage that several tabs share. Each entry has its own key and belongs to one tab, which renews a
 * lease every few seconds. Another tab adopts the entries when the lease has expired. If the first tab was only
 * suspended, both tabs send the same client id, which the server treats as one message.
 */
export class TabEntryStore {
  readonly #storage: StorageAdapter;
  readonly #env: Env;
  readonly #adopt: (entry: Entry) => boolean;
  readonly #tab: string;
  readonly #prefix: string;
  /** The last write of each entry that this tab owns. */
  readonly #writes = new Map<string, Promise<unknown>>();
  readonly #leaseTimer: Timer;
  readonly #scanTimer: Timer;
  /**
   * How often the lease may have expired before each entry was written, by client id; undefined for adopted entries.
   */
  readonly #lapsesAtWrite = new Map<string, number | undefined>();
  #leaseRenewedAt = 0;
  /** How often the lease may have expired so far. */
  #lapses = 0;
  #scanAt = 0;
  #stopped = false;
  #unsubscribe: (() => void)[] | undefined;

  /** @param adopt takes an entry that another tab left; it returns false to refuse the entry */
  constructor(storage: StorageAdapter, env: Env, tab: string, adopt: (entry: Entry) => boolean) {
    this.#storage = storage;
    this.#env = env;
    this.#adopt = adopt;
    this.#tab = tab;
    this.#prefix = `tidings/${env.account ?? "default"}/`;
    this.#leaseTimer = new Timer(env.timers);
    this.#scanTimer = new Timer(env.timers);
  }

  /**
   * Whether another tab may have sent the entry: it was adopted, or the lease may have expired since its first write.
   */
  mayHaveBeenSent(clientId: string): boolean {
    return this.#lapsesAtWrite.get(clientId) !== this.#updateLapses();
  }

  /** Counts an overdue renewal. Returns how often the lease of this tab may have expired so far. */
  #updateLapses(): number {
    if (this.#env.timers.now() - this.#leaseRenewedAt > LEASE_MS / 2) this.#lapses++;
    return this.#lapses;
  }

  /**
   * Reports the last user of this storage and adopts entries that other tabs left. Repeats the search for such entries
   * until `stop`.
   */
  async start(onLastUser: (user: string | undefined) => void): Promise<void> {
    const { lifecycle } = this.#env;
    this.#stopped = false;
    const user = await this.#try((storage) => storage.getItem(`${this.#prefix}user`));
    // The client was stopped meanwhile, so it must not adopt entries.
    if (this.#stopped) return;
    onLastUser(user ?? undefined);
    this.#unsubscribe ??= [
      lifecycle.subscribe((event) => {
        if (event === "hide") this.#endLease();
        // Only `visible` restores the lease: `hidden` may follow `hide` when the user leaves the page.
        else if (event === "visible" && this.#writes.size) this.#renewLease();
      }),
      this.#subscribe(),
    ];
    await this.#scan(SECOND_SCAN_DELAY_MS);
  }

  /** Releases all entries, so that other tabs can adopt them. */
  stop(): void {
    for (const unsubscribe of this.#unsubscribe ?? []) unsubscribe();
    this.#unsubscribe = undefined;
    this.#stopped = true;
    this.#scanTimer.clear();
    this.#endLease();
  }

  /** Writes an entry. Resolves even when the write fails, because sending continues from memory. */
  async save(entry: Entry): Promise<void> {
    const { clientId } = entry;
    const text = serialize(entry, this.#tab);
    const before = this.#writes.get(clientId);
    const write = () => this.#try((storage) => storage.setItem(this.#entryKey(clientId), text));
    const done = before ? before.then(write) : write();
    this.#writes.set(clientId, done);
    this.#renewLease();
    if (!this.#lapsesAtWrite.has(clientId)) this.#lapsesAtWrite.set(clientId, this.#updateLapses());
    const timeout = pause(this.#env.timers, MAX_WRITE_WAIT_MS);
    await Promise.race([done, timeout.done]);
    timeout.end();
  }

  remove(clientId: string): void {
    const before = this.#writes.get(clientId) ?? Promise.resolve();
    void before.then(() => this.#try((storage) => storage.removeItem(this.#entryKey(clientId))));
    this.#disown(clientId);
  }

  /** Releases an entry without deleting it, because it belongs to another user. */
  release({ clientId }: Entry): void {
    this.#disown(clientId);
  }

  #disown(clientId: string): void {
    this.#writes.delete(clientId);
    this.#lapsesAtWrite.delete(clientId);
    if (!this.#writes.size) this.#endLease();
  }

  /** Stores the id of the current user. The next `start` reports it as the last user. */
  saveUser(user: string): void {
    void this.#try((storage) => storage.setItem(`${this.#prefix}user`, user));
  }

  #entryKey(clientId: string): string {
    return `${this.#prefix}out/${clientId}`;
  }

  async #try<T>(work: (storage: StorageAdapter) => T | Promise<T>): Promise<T | undefined> {
    try {
      return await work(this.#storage);
    } catch (cause) {
      this.#reportFailure(cause);
      return undefined;
    }
  }

  #reportFailure(cause: unknown): void {
    this.#env.report(new TidingsError("internal", "the storage of the outbox failed", { cause }));
  }

  /** Plans a scan whenever another tab writes to the storage. The returned function ends this. */
  #subscribe(): () => void {
    try {
      const onChange = (key: string | null) => {
        // Ignores drafts and the cache, which are in the same storage and change often.
        const isOther = key?.slice(this.#prefix.length).match(/^(draft|cache)\//);
        if (key === null || (key.startsWith(this.#prefix) && !isOther)) this.#planScan(LEASE_RENEW_MS);
      };
      return this.#storage.subscribe?.(onChange) ?? (() => {});
    } catch (cause) {
      this.#reportFailure(cause);
      return () => {};
    }
  }

  /** Renews the lease of this tab while it has entries. */
  #renewLease(): void {
    if (this.#leaseTimer.pending || this.#stopped) return;
    const renew = () => {
      const now = this.#env.timers.now();
      // A late timer means that the tab was suspended, so its lease may have expired.
      if (now - this.#leaseRenewedAt > LEASE_MS / 2) this.#lapses++;
      this.#leaseRenewedAt = now;
      void this.#try((storage) => storage.setItem(`${this.#prefix}tab/${this.#tab}`, `${now}`));
      this.#leaseTimer.set(LEASE_RENEW_MS, renew);
    };
    renew();
  }

  #endLease(): void {
    if (!this.#leaseTimer.pending) return;
    this.#leaseTimer.clear();
    this.#lapses++;
    void this.#try((storage) => storage.removeItem(`${this.#prefix}tab/${this.#tab}`));
  }

  /** Plans a scan in `ms` milliseconds, unless an earlier scan is planned. */
  #planScan(ms: number): void {
    const { timers, random } = this.#env;
    const at = timers.now() + ms;
    if (!this.#unsubscribe || (this.#scanTimer.pending && this.#scanAt <= at)) return;
    this.#scanAt = at;
    this.#scanTimer.set(ms, () => void this.#scan(LEASE_MS + random() * LEASE_RENEW_MS));
  }

  /** Adopts the entries of tabs whose lease has expired, and plans the next scan in `nextScanMs` milliseconds. */
  async #scan(nextScanMs: number): Promise<void> {
    const { timers, report } = this.#env;
    const keys = (await this.#try((storage) => (storage.keys ?? storage.getAllKeys)?.call(storage))) ?? [];
    const entryPrefix = this.#entryKey("");
    const leaseKey = (tab: string) => `${this.#prefix}tab/${tab}`;
    const isLeaseValid = async (key: string) => {
      const renewedAt = Number(await this.#try((storage) => storage.getItem(key)));
      // A time far in the future comes from a clock that was set back, so the lease is not valid.
      return Math.abs(timers.now() - renewedAt) < LEASE_MS;
    };
    for (const key of [...keys].sort()) {
      if (key.startsWith(leaseKey("")) && key !== leaseKey(this.#tab) && !(await isLeaseValid(key))) {
        await this.#try((storage) => storage.removeItem(key));
      }
      if (!key.startsWith(entryPrefix) || this.#writes.has(key.slice(entryPrefix.length))) continue;
      const read = () => this.#try((storage) => storage.getItem(key));
      const text = await read();
      if (!text) continue;
      const stored = deserialize(text);
      if (!stored || this.#entryKey(stored.entry.clientId) !== key) {
        report(new TidingsError("internal", "an entry of the outbox is damaged"));
        await this.#try((storage) => storage.removeItem(key));
      } else if (
        !(await isLeaseValid(leaseKey(stored.owner))) &&
        // Reads again, because the owner may have changed or deleted the entry after the first read.
        (await read()) === text &&
        this.#unsubscribe &&
        !this.#writes.has(stored.entry.clientId)
      ) {
        // The author of the entry is unknown, so the current user must retry the message explicitly.
        if (stored.entry.user === undefined)
          stored.entry.error ??= new TidingsError("unauthorized", "the author is unknown; retry to send it");
        this.#lapsesAtWrite.set(stored.entry.clientId, undefined);
        if (!this.#adopt(stored.entry)) this.#lapsesAtWrite.delete(stored.entry.clientId);
      }
    }
    this.#planScan(nextScanMs);
  }
}
