/** What survives a reload: the bytes of files and how far their uploads are, in IndexedDB. */
import { hasShape } from "../protocol/check.js";
import type { Attachment } from "../types.js";

/** What is known of one upload. */
export interface UploadRecord {
  readonly id: string;
  /** The option `account` of the client. */
  readonly account: string;
  /** The id of the user who uploads the file; undefined until it is known. */
  user?: string | undefined;
  readonly room: string;
  readonly name: string;
  readonly mediaType: string;
  readonly size: number;
  /** When the file was added, in milliseconds since 1970. */
  readonly at: number;
  sha256?: string | undefined;
  /** The id that the server gave to the file. */
  file?: string | undefined;
  /** Whether the bytes of this file go to a bucket in parts, and not to the server by offset. */
  inParts?: boolean | undefined;
  /** Set when the upload is complete, with the time, in milliseconds since 1970. */
  attachment?: Attachment | undefined;
  completedAt?: number | undefined;
}

/** The version of the stored form. Records of other versions are ignored. */
const VERSION = 1;
const RECORD_SHAPE =
  "v:n id account user? room name mediaType size:n at:n sha256? file? attachment?:o completedAt?:n";

/** A storage of uploads. Its functions reject when the storage fails. */
export interface FileStore {
  /** Stores a new upload with its bytes. Resolves to false, without a change, if all bytes would exceed `maxBytes`. */
  add(record: UploadRecord, file: Blob, maxBytes: number): Promise<boolean>;
  /** Stores a changed record, unless the upload was removed. */
  update(record: UploadRecord): Promise<void>;
  remove(id: string): Promise<void>;
  record(id: string): Promise<UploadRecord | undefined>;
  records(): Promise<UploadRecord[]>;
  blob(id: string): Promise<Blob | undefined>;
}

const RECORDS = "records";
const BLOBS = "blobs";

/** Makes a storage in IndexedDB, which the tabs of a site share. */
export function indexedDbFiles(name: string): FileStore {
  let connection: Promise<IDBDatabase> | undefined;
  const open = async (): Promise<IDBDatabase> => {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore(RECORDS);
      request.result.createObjectStore(BLOBS);
    };
    const database = await toPromise(request);
    const forget = () => {
      connection = undefined;
    };
    // The browser may close the database, for example when it clears its data.
    database.onclose = forget;
    // Another tab can delete or upgrade the database only after this connection is closed.
    database.onversionchange = () => {
      forget();
      database.close();
    };
    return database;
  };
  /** Runs `work` in one transaction. Resolves when all its writes are durable. */
  const run = async <T>(
    mode: IDBTransactionMode,
    work: (records: IDBObjectStore, blobs: IDBObjectStore) => Promise<T>,
  ): Promise<T> => {
    let transaction: IDBTransaction;
    try {
      connection ??= open();
      transaction = (await connection).transaction([RECORDS, BLOBS], mode);
    } catch (error) {
      // The next call opens the database again, because the failure may be temporary.
      connection = undefined;
      throw error;
    }
    const done = new Promise<void>((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error ?? new Error("the transaction was aborted"));
    });
    const [result] = await Promise.all([
      work(transaction.objectStore(RECORDS), transaction.objectStore(BLOBS)),
      done,
    ]);
    return result;
  };
  const all = async (records: IDBObjectStore) =>
    (await toPromise<unknown[]>(records.getAll())).filter(isRecord);
  return {
    add: (record, file, maxBytes) =>
      run("readwrite", async (records, blobs) => {
        const used = (await all(records)).reduce((sum, { size }) => sum + size, 0);
        if (used + record.size > maxBytes) return false;
        records.put({ ...record, v: VERSION }, record.id);
        blobs.put(file, record.id);
        return true;
      }),
    update: (record) =>
      run("readwrite", async (records) => {
        if (await toPromise(records.getKey(record.id))) records.put({ ...record, v: VERSION }, record.id);
      }),
    remove: (id) =>
      run("readwrite", async (records, blobs) => {
        records.delete(id);
        blobs.delete(id);
      }),
    record: (id) =>
      run("readonly", async (records) => {
        const record = await toPromise<unknown>(records.get(id));
        return isRecord(record) ? record : undefined;
      }),
    records: () => run("readonly", all),
    blob: (id) => run("readonly", (_, blobs) => toPromise<Blob | undefined>(blobs.get(id))),
  };
}

const toPromise = <T>(request: IDBRequest<T>) =>
  new Promise<T>((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

const isRecord = (value: unknown): value is UploadRecord =>
  hasShape(value, RECORD_SHAPE) && (value as { v: number }).v === VERSION;
