import { errorFrom } from "../errors.js";
import type { Acceptance, Entry } from "../outbox/entry.js";
import { hasShape } from "../protocol/check.js";

/**
 * Encodes an entry together with the tab that owns it. The names of stored fields never change, because a storage may
 * hold entries of an older kit.
 */
export function serialize(entry: Entry, owner: string): string {
  const { acceptance: place, error, view: _view, row: _row, ...fields } = entry;
  const storedError = error && {
    code: error.code,
    message: error.message,
    reason: error.reason,
    field: error.field,
  };
  return JSON.stringify({ ...fields, place, error: storedError, v: 1, owner });
}

/** Decodes an entry. Returns undefined when the text is damaged. */
export function deserialize(text: string): { entry: Entry; owner: string } | undefined {
  try {
    const stored: Entry & { owner: string; place?: Acceptance } = JSON.parse(text);
    if (!hasShape(stored, "v:n owner clientId room content options:o at:n user? tries:n place?:o error?:o")) {
      return undefined;
    }
    const { owner, place, error, ...entry } = stored;
    return { owner, entry: { ...entry, acceptance: place, error: error && errorFrom(error, "internal") } };
  } catch {
    return undefined;
  }
}
