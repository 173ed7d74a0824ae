/** Sends the parts of a file to their signed URLs, at a bucket or at the service. An interrupted part is sent again from its start. */
import type { Core } from "../core.js";
import { TidingsError } from "../errors.js";
import { assertShape, filterShape } from "../protocol/check.js";
import { sendBytes } from "./request.js";

/** The time limit of a part of 8 MiB, the usual size, in milliseconds. A larger part has more time. */
const PART_TIMEOUT_MS = 300_000;
const USUAL_PART_BYTES = 8 * 1024 * 1024;

/** A part that the bucket has not received. */
interface Part {
  readonly offset: number;
  readonly size: number;
  readonly url: string;
}

/** What a server says about an upload in parts. */
export interface PartsAnswer {
  readonly kind: "parts";
  readonly received_bytes: number;
  readonly parts: readonly unknown[];
}

/**
 * Sends the parts of an answer. Calls `received` after each part with the number of bytes that the bucket has. Returns
 * false when the bucket has all parts.
 */
export async function sendParts(
  core: Core,
  upload: unknown,
  file: Blob,
  signal: AbortSignal,
  received: (bytes: number) => void,
): Promise<boolean> {
  const answer = assertShape(upload as PartsAnswer, "received_bytes:n");
  const parts = filterShape<Part>(answer.parts, "offset:n size:n url");
  let bytes = answer.received_bytes;
  received(bytes);
  for (const { offset, size, url } of parts) {
    if (!/^(https?:\/)?\/./i.test(url) || offset < 0 || size < 1 || offset + size > file.size)
      throw new TidingsError("protocol");
    const ms = PART_TIMEOUT_MS * Math.max(1, size / USUAL_PART_BYTES);
    // A URL of the service may begin with its path.
    const whole = url.startsWith("/") ? (await core.env.origin()) + url : url;
    await sendBytes(core, whole, file.slice(offset, offset + size), ms, signal);
    bytes += size;
    received(bytes);
  }
  return parts.length > 0;
}
