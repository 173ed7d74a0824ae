import { asError, TidingsError } from "../errors.js";

/** Encodes a value as JSON. Throws TidingsError `bad_request` when JSON cannot represent it. */
export function toJson(value: unknown): string {
  try {
    return JSON.stringify(value);
  } catch (cause) {
    throw asError(cause, "bad_request");
  }
}

/** The size of a value as JSON, in bytes. */
export const jsonByteLength = (value: unknown): number =>
  encodeURIComponent(toJson(value)).replace(/%../g, "_").length;

/**
 * Throws TidingsError `too_large` for a frame of more than `limit` bytes, because the server would close the
 * connection.
 */
export function checkFrameSize(frame: object, limit: number): void {
  const size = jsonByteLength(frame);
  if (size > limit) throw new TidingsError("too_large", `${size} of ${limit} bytes`);
}
