/** The files of one client: its uploads, the messages that wait for them, and the links for downloads. */
import type { Core } from "../core.js";
import { asError, TidingsError } from "../errors.js";
import type { Feature } from "../feature.js";
import { createLimiter } from "../limiter.js";
import type { Attachment, StorageAdapter, Store } from "../types.js";
import { createUuidGenerator } from "../uuid.js";
import { createLinks, isHeld, type Links } from "./links.js";
import { WaitingMessages } from "./messages.js";
import { type FileStore, indexedDbFiles, type UploadRecord } from "./store.js";
import { fileLost } from "./transfer.js";
import type { Files, UploadState } from "./types.js";
import { Upload, type UploadHost } from "./upload.js";

/** The name of the database. */
const DATABASE_NAME = "tidings-files";
/** How many bytes of files the device keeps for uploads. A file above this uploads too, but a reload loses it. */
const MAX_KEPT_BYTES = 1024 * 1024 * 1024;
/** How many uploads a page holds, and how many of them run at the same time. */
const MAX_UPLOADS = 100;
const MAX_RUNNING_UPLOADS = 2;
/** How many sent files stay available for a preview. The page holds them only by reference. */
const MAX_LOCAL_FILES = 20;
/** A kept file that no message and no draft names is deleted when it is older, in milliseconds. */
const MIN_ORPHAN_AGE_MS = 3_600_000;
/** The longest name and media type that the server takes, in characters. */
const MAX_NAME_CHARS = 255;

/** The files of one client. It exists from the first call of `files(client)`. */
export class FilesFeature implements Feature, Files {
  readonly link: Files["link"];
  readonly isHeld = isHeld;
  readonly #links: Links;
  readonly #core: Core;
  readonly #account: string;
  readonly #store: FileStore | undefined;
  readonly #host: UploadHost;
  readonly #uuid: () => string;
  readonly #uploads = new Map<string, Upload>();
  readonly #messages: WaitingMessages;
  /** Sent files by the id of the server, oldest first. */
  readonly #localFiles = new Map<string, Blob>();

  constructor(core: Core) {
    const { env } = core;
    this.#core = core;
    this.#account = env.account ?? "default";
    // Without a storage of the outbox a reload loses the messages too, so their files need not be kept.
    this.#store = env.storage && typeof indexedDB !== "undefined" ? indexedDbFiles(DATABASE_NAME) : undefined;
    this.#uuid = createUuidGenerator(() => env.timers.now());
    this.#host = {
      core,
      store: this.#store,
      limit: createLimiter(MAX_RUNNING_UPLOADS),
      settled: (upload) => this.#settled(upload),
    };
    this.#links = createLinks(core);
    this.link = this.#links.link;
    this.#messages = new WaitingMessages(core, {
      attachmentOf: (id) => this.#uploads.get(id)?.attachment,
      need: (id) => this.#need(id),
      released: (ids, waiting) => this.#detach(this.#release(ids, waiting)),
    });
    this.#messages.update();
    this.#detach(this.#removeOrphans());
  }

  readonly add: Files["add"] = (room, file, name = (file as File).name || "file") => {
    const { env, me } = this.#core;
    if (!file.size) throw new TidingsError("bad_request", "The file is empty", { room, field: "size" });
    if (this.#uploads.size >= MAX_UPLOADS)
      throw new TidingsError("outbox_full", "Too many files are being uploaded", { room });
    const record: UploadRecord = {
      id: this.#uuid(),
      account: this.#account,
      user: me()?.id,
      room,
      name: cleanName(name),
      mediaType: mediaTypeOf(file),
      size: file.size,
      at: env.timers.now(),
    };
    const upload = this.#create(record.id);
    upload.record = record;
    upload.file = file;
    upload.report("waiting");
    this.#detach(this.#keep(upload, { ...record }, file).then(() => upload.start()));
    const { id, mediaType, size } = record;
    return { upload: id, name: record.name, mediaType, size };
  };

  readonly upload = (id: string): Store<UploadState | undefined> => this.#open(id).state;

  readonly retry = (id: string): void => {
    const upload = this.#open(id);
    if (!upload.failed) return;
    upload.start();
    this.#messages.retry(id);
  };

  readonly cancel = (id: string): void => {
    const upload = this.#open(id);
    // The messages forget the upload first, so that they do not start it again.
    this.#messages.cancel(id);
    this.#detach(this.#end(upload, true));
  };

  readonly local = async ({ upload, file }: Attachment): Promise<Blob | undefined> => {
    if (file !== undefined) return this.#localFiles.get(file);
    if (upload === undefined) return undefined;
    return this.#uploads.get(upload)?.file ?? (await this.#store?.blob(upload));
  };

  readonly forget = async (): Promise<void> => {
    const records = (await this.#store?.records()) ?? [];
    for (const upload of [...this.#uploads.values()]) await this.#end(upload, false);
    for (const { id, account } of records) if (account === this.#account) await this.#store?.remove(id);
    this.#localFiles.clear();
    this.#links.clear();
  };

  /** Continues the uploads at once, because the network is back. */
  up(): void {
    this.#messages.update();
    for (const upload of this.#uploads.values()) {
      if (!upload.failed) upload.start();
      upload.hurry();
    }
  }

  /** Stops the uploads of the earlier user. They continue when that user returns. */
  userChanged(): void {
    for (const upload of this.#uploads.values()) upload.stop();
    this.#localFiles.clear();
    this.#links.clear();
  }

  /** Stops the uploads if the kit will not reconnect by itself, because the user may be signed out. */
  down(ended?: TidingsError): void {
    if (ended) for (const upload of this.#uploads.values()) upload.stop();
  }

  #create(id: string): Upload {
    const upload = new Upload(this.#host, id);
    this.#uploads.set(id, upload);
    return upload;
  }

  /** Returns an upload of this page, or begins to read one of an earlier page. */
  #open(id: string): Upload {
    const known = this.#uploads.get(id);
    if (known) return known;
    const upload = this.#create(id);
    this.#detach(this.#restore(upload));
    return upload;
  }

  async #restore(upload: Upload): Promise<void> {
    let cause: unknown;
    await upload.load().catch((thrown) => {
      cause = thrown;
    });
    // The upload was cancelled meanwhile.
    if (this.#uploads.get(upload.id) !== upload) return;
    const { record } = upload;
    if (record && upload.attachment) {
      upload.report("complete", record.size);
      this.#messages.update();
    } else if (record && upload.file && record.account === this.#account) upload.start();
    else {
      const error = fileLost(cause);
      upload.report("failed", 0, error);
      this.#messages.fail(upload.id, error);
    }
  }

  #need(id: string): void {
    const upload = this.#open(id);
    if (upload.record) upload.start();
    else if (upload.failed) {
      // The storage may have failed only for a moment.
      this.#uploads.delete(id);
      this.#open(id);
    }
  }

  async #keep(upload: Upload, record: UploadRecord, file: Blob): Promise<void> {
    try {
      upload.kept = (await this.#store?.add(record, file, MAX_KEPT_BYTES)) === true;
    } catch (thrown) {
      // The disk may be full. The upload continues from memory.
      this.#core.env.report(new TidingsError("internal", "a file could not be stored", { cause: thrown }));
    }
    // The user has cancelled the upload meanwhile.
    if (this.#uploads.get(upload.id) !== upload) await this.#store?.remove(upload.id);
  }

  #settled(upload: Upload): void {
    const { attachment, file } = upload;
    const { error } = upload.state.get() ?? {};
    if (error) {
      this.#messages.fail(upload.id, error);
      return;
    }
    if (attachment?.file && file) {
      this.#localFiles.set(attachment.file, file);
      const [oldest] = this.#localFiles.keys();
      if (this.#localFiles.size > MAX_LOCAL_FILES && oldest) this.#localFiles.delete(oldest);
    }
    this.#messages.update();
  }

  /** Forgets the uploads of a message that was sent or discarded. */
  async #release(ids: readonly string[], waiting: boolean): Promise<void> {
    let discarded = waiting;
    if (waiting && this.#store) {
      // Another tab may have completed the uploads and sent the message. Then its files must stay.
      const records = await Promise.all(ids.map((id) => this.#store?.record(id)));
      const inMemory = ids.every((id) => !this.#uploads.get(id)?.kept);
      discarded = inMemory || records.some((record) => record && !record.attachment);
    }
    for (const id of ids) {
      const upload = this.#uploads.get(id);
      if (upload) await this.#end(upload, discarded);
      else await this.#store?.remove(id);
    }
  }

  async #end(upload: Upload, giveUp: boolean): Promise<void> {
    this.#uploads.delete(upload.id);
    const given = giveUp ? upload.giveUp() : undefined;
    await upload.remove();
    // The server deletes a file that it does not hear of again, so a failure needs no retry.
    await given?.catch(() => {});
  }

  /** Deletes kept files that no message of the outbox and no draft names, for example after a crash. */
  async #removeOrphans(): Promise<void> {
    const store = this.#store;
    const { env } = this.#core;
    const storage = env.storage as unknown as Partial<StorageAdapter> | undefined;
    const records = (await store?.records()) ?? [];
    const old = records.filter(({ at }) => env.timers.now() - at > MIN_ORPHAN_AGE_MS);
    if (!old.length || !storage?.getItem || !storage.keys) return;
    // Of all accounts, because an account that was deleted on this device may never return.
    const keys = (await storage.keys()).filter((key) => /^tidings\/.+\/(out|draft)\//.test(key));
    const texts = await Promise.all(keys.map((key) => storage.getItem?.(key)));
    for (const { id } of old) {
      if (this.#uploads.has(id) || texts.some((text) => text?.includes(id))) continue;
      await store?.remove(id);
    }
  }

  /** Reports the error of work that no caller awaits. */
  #detach(work: Promise<unknown>): void {
    work.catch((thrown) => this.#core.env.report(asError(thrown, "internal")));
  }
}

/** The type of a file without its parameters, which the server does not take. */
function mediaTypeOf(file: Blob): string {
  const [type = ""] = file.type.split(";");
  return /^[\w!#$&^.+-]{1,127}\/[\w!#$&^.+-]{1,127}$/.test(type.trim())
    ? type.trim()
    : "application/octet-stream";
}

/**
 * Makes a name that the server takes: without control characters and changes of direction, and shortened in front of its
 * extension. No character that users see is cut, where the platform can tell.
 */
function cleanName(name: string): string {
  const text = name
    .replace(/[\u202a-\u202e\u2066-\u2069]/g, "")
    .replace(/\p{Cc}/gu, " ")
    .trim();
  const dot = text.lastIndexOf(".");
  const end = dot > 0 && text.length - dot <= 16 ? dot : text.length;
  let left = MAX_NAME_CHARS - [...text.slice(end)].length;
  const { Segmenter } = globalThis.Intl ?? {};
  const base = text.slice(0, end);
  const parts = Segmenter ? Array.from(new Segmenter().segment(base), ({ segment }) => segment) : [...base];
  const kept = parts.filter((part) => {
    left -= [...part].length;
    return left >= 0;
  });
  return kept.join("") + text.slice(end) || "file";
}
