/** Brings the bytes of one file to the server, over any number of cuts. */
import { backoffMs } from "../backoff.js";
import type { Core } from "../core.js";
import { asError, isPermanent, TidingsError } from "../errors.js";
import { abortable } from "../net/http.js";
import { assertShape, hasShape } from "../protocol/check.js";
import type { AttachmentObject } from "../protocol/objects.js";
import type { Pause } from "../timers.js";
import type { Attachment } from "../types.js";
import { digest } from "./digest.js";
import { sendParts } from "./parts.js";
import { type FileRequest, sendRequest } from "./request.js";
import type { UploadRecord } from "./store.js";
import type { UploadPhase } from "./types.js";

/** The first, the least and the most bytes of one request. A slow network gets small requests, a fast one large ones. */
const FIRST_CHUNK_BYTES = 256 * 1024;
const MIN_CHUNK_BYTES = 64 * 1024;
const MAX_CHUNK_BYTES = 8 * 1024 * 1024;
/** A chunk that took less time than the first value is followed by a larger one, above the second by a smaller one. */
const QUICK_CHUNK_MS = 1_000;
const SLOW_CHUNK_MS = 4_000;
/** The time limit of a chunk, in milliseconds. */
const CHUNK_TIMEOUT_MS = 60_000;
/** How often a file is sent again from its start, because the server has lost it or its checksum was wrong. */
const MAX_RESTARTS = 2;
/** How many answers `internal` in a row fail the upload. */
const MAX_INTERNAL_ERRORS = 5;

/** What a transfer uses of its upload. */
export interface TransferHost {
  readonly core: Core;
  readonly record: UploadRecord;
  readonly file: Blob;
  readonly signal: AbortSignal;
  /** Stores the record. */
  readonly save: () => Promise<void>;
  readonly report: (phase: UploadPhase, sent: number) => void;
  /** Called when the server has created the file after the transfer was stopped. */
  readonly stopped: () => void;
  /** Makes a pause that ends early when the client connects or the upload is cancelled. */
  readonly pause: (ms: number) => Pause;
}

/** The path of a file below /v1. */
export const filePath = ({ room, file }: UploadRecord): string =>
  `/rooms/${encodeURIComponent(room)}/files${file === undefined ? "" : `/${encodeURIComponent(file)}`}`;

/** Uploads a file and returns its attachment. Rejects with TidingsError: a permanent refusal, or `closed` if aborted. */
export async function transfer(host: TransferHost): Promise<Attachment> {
  const { core, record, file, signal } = host;
  const { env, connection } = core;
  const request = (method: string, path: string, more?: Partial<FileRequest>) =>
    sendRequest(core, { method, path: filePath(record) + path, signal, ...more });
  /** How many bytes the server has; undefined until the server has said it. */
  let offset: number | undefined;
  /** The most bytes that the server had. An error does not reset it, so old parts do not count as progress again. */
  let most = 0;
  let chunkBytes = FIRST_CHUNK_BYTES;
  let maxChunkBytes = MAX_CHUNK_BYTES;
  let failures = 0;
  let internalErrors = 0;
  let restarts = 0;

  if (record.sha256 === undefined) {
    host.report("hashing", 0);
    try {
      record.sha256 = await digest(file, signal);
    } catch (cause) {
      throw signal.aborted ? new TidingsError("closed") : fileLost(cause);
    }
    await host.save();
  }

  /** One request, chosen by what is known. Returns the attachment when the file is complete. */
  const step = async (): Promise<Attachment | undefined> => {
    if (record.file === undefined) {
      const { name, mediaType, size, sha256 } = record;
      // The request is not aborted, because the server may already have created the file.
      const { body } = await request("POST", "", {
        body: { name, media_type: mediaType, size, sha256 },
        signal: undefined,
      });
      const { id, upload } = assertShape(body as { id: string; upload: { kind: string } }, "id upload:o");
      record.inParts = upload.kind === "parts";
      if (!record.inParts && upload.kind !== "offset")
        throw new TidingsError(
          "bad_request",
          "The server wants uploads of a kind that this kit does not know",
        );
      record.file = id;
      most = 0;
      if (signal.aborted) {
        host.stopped();
        throw new TidingsError("closed");
      }
      offset = 0;
      await host.save();
    } else if (record.inParts) {
      const { body } = await request("GET", "");
      const { upload } = body as { upload?: unknown };
      const received = (bytes: number) => {
        // A part that has arrived is progress.
        if (bytes > most) failures = internalErrors = 0;
        most = Math.max(most, bytes);
        offset = bytes;
        host.report("sending", bytes);
      };
      if (!upload || !(await sendParts(core, upload, file, signal, received))) return complete();
    } else if (offset === undefined) {
      offset = (await request("HEAD", "/content")).offset;
      if (offset === undefined || offset > file.size) throw new TidingsError("protocol");
    } else if (offset < file.size) {
      host.report("sending", offset);
      offset = await sendChunk(offset);
      host.report("sending", offset);
    } else {
      return complete();
    }
    return undefined;
  };

  const complete = async (): Promise<Attachment> => {
    host.report("checking", file.size);
    return toAttachment((await request("POST", "/complete")).body);
  };

  const sendChunk = async (from: number): Promise<number> => {
    const startedAt = env.timers.now();
    const chunk = file.slice(from, from + chunkBytes);
    const answer = await request("PATCH", "/content", {
      body: chunk,
      headers: { "content-type": "application/partial-upload", "upload-offset": `${from}` },
      ms: CHUNK_TIMEOUT_MS,
    });
    // A page of another origin may be unable to read the header of the answer.
    const next = answer.offset ?? from + chunk.size;
    // A conflict without another offset would be repeated for ever.
    if (next > file.size || next === from)
      throw new TidingsError("unavailable", "The server did not take the bytes");
    const took = env.timers.now() - startedAt;
    if (took < QUICK_CHUNK_MS) chunkBytes = Math.min(chunkBytes * 2, maxChunkBytes);
    else if (took > SLOW_CHUNK_MS) chunkBytes = Math.max(chunkBytes / 2, MIN_CHUNK_BYTES);
    if (next > from) failures = internalErrors = 0;
    return next;
  };

  /** Gives up the file on the server, so that a retry of the user begins with a new one. Returns the error. */
  const givenUp = async (error: TidingsError): Promise<TidingsError> => {
    if (record.file !== undefined) await request("DELETE", "").catch(() => {});
    record.file = undefined;
    return error;
  };

  for (;;) {
    // A stopped transfer must not send with the token of the next user.
    if (signal.aborted) throw new TidingsError("closed");
    try {
      const attachment = await step();
      if (attachment) return attachment;
    } catch (thrown) {
      const error = asError(thrown);
      if (signal.aborted) throw error;
      // The browser reports an unreadable file as a failed request.
      if (error.code === "network") await checkReadable(file);
      // A proxy before the server may take only small requests.
      const isChunkTooLarge =
        error.code === "too_large" && offset !== undefined && chunkBytes > MIN_CHUNK_BYTES;
      chunkBytes = Math.max(chunkBytes / 2, MIN_CHUNK_BYTES);
      if (isChunkTooLarge) {
        maxChunkBytes = chunkBytes;
        continue;
      }
      // Asks the server what it has, because a part of the request may have arrived.
      offset = undefined;
      const isLost = error.code === "not_found" && record.file !== undefined;
      // An upload in parts is removed when its bytes are wrong.
      if (isLost || (record.inParts && error.reason === "checksum")) record.file = undefined;
      if (isLost || error.reason === "checksum") {
        if (++restarts > MAX_RESTARTS) throw await givenUp(error);
        continue;
      }
      if (error.code === "internal" && ++internalErrors >= MAX_INTERNAL_ERRORS) throw error;
      // Another request about the same file may still run, for example one whose connection was cut.
      const isBusy = error.code === "conflict" && record.file !== undefined && error.reason !== "rejected";
      if (isPermanent(error) && !isBusy) throw await givenUp(error);
      // A user who is signed out can continue after the next `connect()`.
      if (error.code === "unauthorized") await abortable(connection.whenUp(), signal).catch(() => {});
      await host.pause(backoffMs(++failures, env.random, error.retryAfterMs)).done;
    }
  }
}

/** The error for an upload whose bytes are gone. The user must choose the file again. */
export const fileLost = (cause?: unknown): TidingsError =>
  new TidingsError("not_found", "The file is no longer on this device: attach it again", {
    reason: "file_lost",
    cause,
  });

/** Rejects with `fileLost` if the user has changed or deleted the file, so that it cannot be read any more. */
async function checkReadable(file: Blob): Promise<void> {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch (cause) {
    throw fileLost(cause);
  }
}

/** Makes the attachment from the answer to `complete`. */
function toAttachment(body: unknown): Attachment {
  const { attachment } = assertShape(body as { attachment: AttachmentObject }, "attachment:o");
  if (!hasShape(attachment, "file name media_type size:n width?:n height?:n blurhash?"))
    throw new TidingsError("protocol");
  const { media_type: mediaType, ...rest } = attachment;
  return { ...rest, mediaType };
}
