/** The messages of the outbox that wait for uploads. */
import type { Core } from "../core.js";
import type { TidingsError } from "../errors.js";
import { type Entry, hasUploads } from "../outbox/entry.js";
import type { Attachment } from "../types.js";

/** What the messages use of the uploads. */
export interface UploadLookup {
  /** The attachment of a complete upload. */
  readonly attachmentOf: (id: string) => Attachment | undefined;
  /** Starts or continues an upload that a message needs. Starts a failed one again. */
  readonly need: (id: string) => void;
  /** Called when a message no longer needs its uploads. `waiting` tells whether it still waited for one of them. */
  readonly released: (uploads: readonly string[], waiting: boolean) => void;
}

/** A message with uploads, as it was last seen in the outbox. */
interface WaitingMessage {
  readonly entry: Entry;
  readonly uploads: readonly string[];
}

const uploadsOf = (entry: Entry): string[] =>
  (entry.options.attachments ?? []).flatMap(({ upload }) => upload ?? []);

/** Gives messages of the outbox their files as soon as all files of the message are complete. */
export class WaitingMessages {
  readonly #core: Core;
  readonly #uploads: UploadLookup;
  readonly #messages = new Map<string, WaitingMessage>();

  constructor(core: Core, uploads: UploadLookup) {
    this.#core = core;
    this.#uploads = uploads;
    core.outbox.subscribe(() => this.update());
  }

  /** Follows the outbox: starts the uploads of new messages, completes messages, and forgets those that left. */
  update(): void {
    const entries = this.#entries();
    for (const entry of entries) {
      if (!hasUploads(entry)) continue;
      const uploads = uploadsOf(entry);
      this.#messages.set(entry.clientId, { entry, uploads });
      // A failed message waits for the user.
      if (entry.error) continue;
      if (uploads.every((id) => this.#uploads.attachmentOf(id))) this.#complete(entry);
      else for (const id of uploads) if (!this.#uploads.attachmentOf(id)) this.#uploads.need(id);
    }
    const present = new Set(entries);
    const me = this.#core.me()?.id;
    for (const [clientId, { entry, uploads }] of [...this.#messages]) {
      if (present.has(entry)) continue;
      this.#messages.delete(clientId);
      // The outbox puts aside the messages of other users, who need their files when they return.
      if (me !== undefined && entry.user !== undefined && entry.user !== me) continue;
      this.#uploads.released(uploads, !!hasUploads(entry) && !entry.acceptance);
    }
  }

  /** Fails the messages that wait for an upload. */
  fail(upload: string, error: TidingsError): void {
    for (const entry of this.#waitingFor(upload)) {
      entry.error ??= error;
      this.#core.outbox.changed(entry);
    }
  }

  /** Clears the errors of the messages that wait for an upload, because it is tried again. */
  retry(upload: string): void {
    for (const { clientId } of this.#waitingFor(upload)) this.#core.outbox.retry(clientId);
  }

  /** Removes an upload from the messages that wait for it. Discards a message without text and other attachments. */
  cancel(upload: string): void {
    const { outbox } = this.#core;
    for (const entry of this.#waitingFor(upload)) {
      const { attachments = [], ...options } = entry.options;
      const others = attachments.filter((attachment) => attachment.upload !== upload);
      if (!entry.content && !others.length) {
        outbox.discard(entry.clientId);
        continue;
      }
      entry.options = others.length ? { ...options, attachments: others } : options;
      // An error of the cancelled upload must not keep the message back.
      if (entry.error) outbox.retry(entry.clientId);
      else outbox.changed(entry);
    }
  }

  /** Whether a message of this page needs the upload. */
  needs(upload: string): boolean {
    return [...this.#messages.values()].some(({ uploads }) => uploads.includes(upload));
  }

  #entries(): Entry[] {
    const { outbox } = this.#core;
    const rooms = new Set(outbox.get().map(({ room }) => room));
    return [...rooms].flatMap((room) => outbox.entriesOf(room)).filter((entry) => !entry.change);
  }

  #waitingFor(upload: string): Entry[] {
    return this.#entries().filter((entry) => uploadsOf(entry).includes(upload));
  }

  #complete(entry: Entry): void {
    const attachments = entry.options.attachments?.map(
      (attachment) => this.#uploads.attachmentOf(attachment.upload ?? "") ?? attachment,
    );
    entry.options = { ...entry.options, attachments };
    this.#core.outbox.changed(entry);
  }
}
