import { TidingsError } from "./errors.js";
import type { ClientOptions } from "./types.js";

/** Returns the error for an option with an invalid value. `need` completes "The option x must …". */
export const invalidOption = (field: string, need: string, value: string) =>
  new TidingsError("bad_request", `The option ${field} must ${need}, not ${value}`, { field });

/**
 * Returns the origin of a server without a trailing slash. Throws TidingsError for anything else, because every attempt
 * to connect would fail.
 */
export function checkOrigin(field: string, value: unknown): string {
  // A regular expression, because the `URL` of React Native cannot parse every address.
  const origin = typeof value === "string" && /^(https?:\/\/[^/?#\s]+[^?#\s]*?)\/*$/i.exec(value)?.[1];
  if (!origin || /\/v1(\/|$)/.test(origin)) {
    throw invalidOption(
      field,
      "be the origin of the server, such as https://chat.example.com",
      JSON.stringify(value),
    );
  }
  return origin;
}

/** Throws TidingsError `bad_request` for the first invalid option; the `field` of the error names it. */
export function checkOptions(options: ClientOptions): void {
  const { url, httpUrl = url, token, storage, transport = "auto" } = options;
  if (typeof url !== "function") checkOrigin("url", url);
  if (typeof httpUrl !== "function") checkOrigin("httpUrl", httpUrl);
  // The value may be a token, so the message does not show it.
  if (typeof token !== "function")
    throw invalidOption("token", "be a function that returns a token", typeof token);
  if (storage && typeof storage.open !== "function")
    throw invalidOption("storage", "be made by @tidings/client/storage", typeof storage);
  if (!/^(auto|websocket|poll)$/.test(transport))
    throw invalidOption("transport", "be auto, websocket or poll", transport);
}
