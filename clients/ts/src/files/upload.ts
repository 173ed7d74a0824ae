/** One upload: its record, its bytes, its state, and the transfer that runs. */
import type { Core } from "../core.js";
import { asError, TidingsError } from "../errors.js";
import { omitNullish } from "../omit-nullish.js";
import { cell } from "../store.js";
import { type Pause, pause } from "../timers.js";
import type { Attachment } from "../types.js";
import { sendRequest } from "./request.js";
import type { FileStore, UploadRecord } from "./store.js";
import { fileLost, filePath, transfer } from "./transfer.js";
import type { UploadPhase, UploadState } from "./types.js";

/**
 * How long a complete upload counts as complete, in milliseconds. Servers delete files that no message names, by default
 * after 7 days. An older upload, for example of an old draft, is checked before it is sent.
 */
const MAX_COMPLETE_AGE_MS = 3 * 86_400_000;

/** What an upload uses of its owner. */
export interface UploadHost {
  readonly core: Core;
  /** Undefined when uploads are only in memory. */
  readonly store: FileStore | undefined;
  /** Runs work when fewer than the allowed number of uploads run. */
  readonly limit: <T>(work: () => Promise<T>) => Promise<T>;
  /** Called when an upload is complete or has failed. */
  readonly settled: (upload: Upload) => void;
}

/** One upload of this page. */
export class Upload {
  readonly id: string;
  readonly state = cell<UploadState | undefined>(undefined);
  record: UploadRecord | undefined;
  file: Blob | undefined;
  /** Whether a reload of the page keeps the upload. */
  kept = false;
  readonly #host: UploadHost;
  #controller: AbortController | undefined;
  #givenUp = false;
  #pause: Pause | undefined;

  constructor(host: UploadHost, id: string) {
    this.id = id;
    this.#host = host;
  }

  /** The attachment, when the upload is complete and the server surely still has the file. */
  get attachment(): Attachment | undefined {
    const { attachment, completedAt = 0 } = this.record ?? {};
    return this.#host.core.env.timers.now() - completedAt < MAX_COMPLETE_AGE_MS ? attachment : undefined;
  }

  get failed(): boolean {
    return this.state.get()?.phase === "failed";
  }

  /** Takes over the record that the storage has now; another tab may have continued the upload. */
  async load(): Promise<void> {
    const { store } = this.#host;
    const stored = await store?.record(this.id);
    if (stored) {
      this.record = stored;
      this.kept = true;
      this.file ??= this.attachment ? undefined : await store?.blob(this.id);
    }
  }

  /** Starts the upload. Does nothing if it runs, is complete, or belongs to another user than the connected one. */
  start(): void {
    if (this.#controller || this.attachment) return;
    const me = this.#host.core.me()?.id;
    this.report("waiting");
    if (me === undefined || (this.record?.user ?? me) !== me) return;
    const controller = new AbortController();
    this.#controller = controller;
    void this.#run(controller.signal, me).then(
      () => this.#ended(controller),
      (thrown) => this.#ended(controller, asError(thrown)),
    );
  }

  /** Stops the transfer. `start` continues it. */
  stop(): void {
    this.#controller?.abort();
    this.#controller = undefined;
    this.#pause?.end();
    if (this.record && !this.attachment && !this.failed) this.report("waiting");
  }

  /** Ends the pause after a failure, because the network is back. */
  hurry(): void {
    this.#pause?.end();
  }

  /** Deletes the bytes and the record on this device. */
  async remove(): Promise<void> {
    this.stop();
    this.record = this.file = undefined;
    this.state.set(undefined);
    await this.#host.store?.remove(this.id);
  }

  /** Gives up the file on the server, which would otherwise keep it until it expires. */
  async giveUp(): Promise<void> {
    this.#givenUp = true;
    this.stop();
    if (this.record) await this.#delete(this.record);
  }

  async #delete(record: UploadRecord): Promise<void> {
    if (record.file !== undefined)
      await sendRequest(this.#host.core, { method: "DELETE", path: filePath(record) });
  }

  /** Shows a phase. */
  report(phase: UploadPhase, sent = this.state.get()?.sent ?? 0, error?: TidingsError): void {
    const { record, id, kept } = this;
    const { room = "", name = "", mediaType = "", size = 0 } = record ?? {};
    this.state.set(omitNullish({ id, room, name, mediaType, size, sent, phase, kept, error }));
  }

  async #run(signal: AbortSignal, me: string): Promise<void> {
    const { core, store, limit } = this.#host;
    await limit(() =>
      withLock(`tidings/upload/${this.id}`, signal, async () => {
        // Another tab may have completed the upload while this tab waited for the lock.
        await this.load().catch((thrown) => core.env.report(asError(thrown, "internal")));
        if (signal.aborted || this.attachment) return;
        const { record, file } = this;
        if (!record || !file) throw fileLost();
        record.user ??= me;
        const save = async () => {
          // The upload continues from memory if the storage fails.
          await store?.update(record).catch((thrown) => core.env.report(asError(thrown, "internal")));
        };
        record.attachment = await transfer({
          core,
          record,
          file,
          signal,
          save,
          report: (phase, sent) => {
            if (!signal.aborted) this.report(phase, sent);
          },
          stopped: () => {
            // The request of one user must not be sent as the next user.
            if (this.#givenUp && core.me()?.id === me) this.#delete(record).catch(() => {});
          },
          pause: (ms) => {
            this.#pause = pause(core.env.timers, ms);
            return this.#pause;
          },
        });
        record.completedAt = core.env.timers.now();
        await save();
      }),
    );
  }

  #ended(controller: AbortController, error?: TidingsError): void {
    // `stop` was called, and perhaps another run has begun.
    if (this.#controller !== controller) return;
    this.#controller = undefined;
    if (error) this.report("failed", undefined, error);
    else this.report("complete", this.record?.size);
    this.#host.settled(this);
  }
}

/**
 * Runs work while no other tab runs the work of this name. Where the platform has no locks, two tabs may send the same
 * bytes: the server takes each byte once, because both name its offset.
 */
async function withLock(name: string, signal: AbortSignal, work: () => Promise<void>): Promise<void> {
  const locks = globalThis.navigator?.locks as LockManager | undefined;
  if (!locks) return work();
  try {
    await locks.request(name, { signal }, work);
  } catch (thrown) {
    throw signal.aborted ? new TidingsError("closed") : thrown;
  }
}
