/** The checksum of a file. */
import { sha256 } from "@noble/hashes/sha2.js";

/** How much of a file is in memory at a time, in bytes. Reading a piece also lets the page respond to the user. */
const PIECE_BYTES = 1 << 20;

/** Returns the SHA-256 of a file in hexadecimal. Reads it in pieces, so that a file may be larger than the memory. */
export async function digest(file: Blob, signal: AbortSignal): Promise<string> {
  const hash = sha256.create();
  for (let at = 0; at < file.size; at += PIECE_BYTES) {
    signal.throwIfAborted();
    hash.update(new Uint8Array(await file.slice(at, at + PIECE_BYTES).arrayBuffer()));
  }
  return Array.from(hash.digest(), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
