import { errorFrom } from "../errors.js";
import type { Entry } from "../outbox/entry.js";
import { has } from "../protocol/check.js";

/** Writes an entry down, with the tab that brings it to the server. */
export function serialize(entry: Entry, owner: string): string {
  const { error } = entry;
  const kept = error && {
    code: error.code,
    message: error.message,
    reason: error.reason,
    field: error.field,
  };
  return JSON.stringify({ ...entry, shown: undefined, row: undefined, error: kept, v: 1, owner });
}

/** Reads what was written down; undefined for what is damaged. */
export function deserialize(text: string): { entry: Entry; owner: string } | undefined {
  try {
    const kept: Entry & { owner: string } = JSON.parse(text);
    if (!has(kept, "v:n owner clientId room content options:o at:n user? tries:n place?:o error?:o")) {
      return undefined;
    }
    const { owner, error, ...entry } = kept;
    return { owner, entry: { ...entry, error: error && errorFrom(error, "internal") } };
  } catch {
    return undefined;
  }
}
