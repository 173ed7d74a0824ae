import type { Message } from "@tidings/client";

/**
 * The time of a message, in ms since 1970. An imported message has its original time, which the import keeps in the
 * metadata as `imported: {at}`; its `at` is the time of the import.
 */
export function originalTime({ at, metadata }: Pick<Message, "at" | "metadata">): number {
  return importedAt(metadata) ?? at;
}

/** The original time of an imported message, in ms since 1970; undefined for other messages. */
export function importedAt(metadata: object | undefined): number | undefined {
  const imported = (metadata as { imported?: { at?: unknown } } | undefined)?.imported;
  const at = typeof imported?.at === "string" ? Date.parse(imported.at) : Number.NaN;
  return Number.isNaN(at) ? undefined : at;
}
