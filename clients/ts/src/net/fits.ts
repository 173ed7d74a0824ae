import { asError, TidingsError } from "../errors.js";

/** A value as JSON. Throws TidingsError `bad_request` for what cannot be JSON. */
export function asJson(value: unknown): string {
  try {
    return JSON.stringify(value);
  } catch (cause) {
    throw asError(cause, "bad_request");
  }
}

/** Bytes of a value as JSON. */
export const sizeOf = (value: unknown): number =>
  encodeURIComponent(asJson(value)).replace(/%../g, "_").length;

/** Makes sure that a frame has no more than `most` bytes: the server ends the connection for one that has. */
export function fits(frame: object, most: number): void {
  const size = sizeOf(frame);
  if (size > most) throw new TidingsError("too_large", `${size} of ${most} bytes`);
}
