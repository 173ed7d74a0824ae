/** The public types of the entry `files`. */
import type { TidingsError } from "../errors.js";
import type { HttpOptions } from "../net/http.js";
import type { Attachment, Message, Store } from "../types.js";

/**
 * What happens to a file: it waits for its turn, its checksum is computed, its bytes are sent, the server checks it. A
 * `failed` upload waits for `retry` or `cancel`.
 */
export type UploadPhase = "waiting" | "hashing" | "sending" | "checking" | "complete" | "failed";

/** The state of one upload. The object never changes; after a change another object replaces it. */
export interface UploadState {
  readonly id: string;
  readonly room: string;
  readonly name: string;
  readonly mediaType: string;
  /** The size of the file, and how much of it the server has, in bytes. */
  readonly size: number;
  readonly sent: number;
  readonly phase: UploadPhase;
  /** Whether a reload of the page keeps the upload. */
  readonly kept: boolean;
  readonly error?: TidingsError;
}

/** The address of a file, which is good until `expiresAt` (milliseconds since 1970, by the clock of this device). */
export interface FileLink {
  readonly url: string;
  readonly expiresAt: number;
}

/** The options of a link. */
export interface FilesOptions extends HttpOptions {
  /** Asks the server even if a link is known, because the known one did not work. */
  readonly fresh?: boolean;
  /**
   * Asks for the preview of an image: a small picture that does not move. The server gives the file itself if it has no
   * preview.
   */
  readonly preview?: boolean;
}

/** The uploads of a client, and the addresses of files. Its functions need no `this`. */
export interface Files {
  /**
   * Begins to upload a file for a room. Returns the attachment for a draft or for `Room.send`: the message waits in the
   * outbox until the upload is complete. Throws TidingsError `outbox_full` if too many uploads wait, `bad_request` for an
   * empty file.
   */
  readonly add: (room: string, file: Blob, name?: string) => Attachment;
  /** The state of an upload, which continues if an earlier page has begun it. Undefined while it is read. */
  readonly upload: (id: string) => Store<UploadState | undefined>;
  /** Starts a failed upload again, and the message that waits for it. */
  readonly retry: (id: string) => void;
  /**
   * Ends an upload and deletes its bytes. A message that waits for it loses the attachment; a message without text and
   * without other attachments is discarded.
   */
  readonly cancel: (id: string) => void;
  /**
   * Deletes the bytes of all uploads of the account on this device. Call it when the user signs out with
   * `signOut(client, { everything: true })`, which deletes their messages. Rejects if the storage fails.
   */
  readonly forget: () => Promise<void>;
  /** The bytes of an attachment that this page or an earlier one has uploaded; undefined if the device has them no more. */
  readonly local: (attachment: Attachment) => Promise<Blob | undefined>;
  /**
   * The address of an attachment of a message that the server has accepted. The same link is returned until shortly
   * before it expires. Rejects with TidingsError.
   */
  readonly link: (
    message: Pick<Message, "room" | "seq">,
    attachment: Attachment,
    options?: FilesOptions,
  ) => Promise<FileLink>;
  /** Whether `link` was refused because a scanner still checks the file, so that a later call may succeed. */
  readonly isHeld: (error: unknown) => boolean;
}
