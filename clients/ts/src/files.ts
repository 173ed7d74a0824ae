/**
 * Files of messages: uploads that survive reloads and cuts, and addresses for downloads. This entry contains the SHA-256
 * of `@noble/hashes`, because the server checks each file.
 */
import type { TidingsClient } from "./client.js";
import { FilesFeature } from "./files/feature.js";
import type { Files } from "./files/types.js";
import type { TidingsClientLike } from "./types.js";

/**
 * Returns the files of a client, the same object each time. Call it before `connect()`: it continues the uploads of
 * earlier pages, and messages with files wait in the outbox until it has uploaded them.
 */
export function files(client: TidingsClientLike): Files {
  return (client as TidingsClient).features.of(FilesFeature);
}
