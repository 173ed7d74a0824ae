import type { Message } from "@tidings/client";

/**
 * The time of a message, in ms since 1970. Imports of earlier versions kept the original time in the metadata as
 * `imported: {at}`; the `at` of such a message is the time of the import.
 */
export function originalTime({ at, metadata }: Pick<Message, "at" | "metadata">): number {
  return importedAt(metadata) ?? at;
}

/** The original time in the metadata of an imported message, in ms since 1970; undefined for other messages. */
export function importedAt(metadata: object | undefined): number | undefined {
  const imported = (metadata as { imported?: { at?: unknown } } | undefined)?.imported;
  const at = typeof imported?.at === "string" ? Date.parse(imported.at) : Number.NaN;
  return Number.isNaN(at) ? undefined : at;
}
