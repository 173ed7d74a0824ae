import { errorFrom } from "../errors.js";
import type { Entry } from "../outbox/entry.js";
import { hasShape } from "../protocol/check.js";

/** Encodes an entry together with the tab that owns it. */
export function serialize(entry: Entry, owner: string): string {
  const { error, view: _view, row: _row, ...fields } = entry;
  const storedError = error && {
    code: error.code,
    message: error.message,
    reason: error.reason,
    field: error.field,
  };
  return JSON.stringify({ ...fields, error: storedError, v: 1, owner });
}

/** Decodes an entry. Returns undefined when the text is damaged. */
export function deserialize(text: string): { entry: Entry; owner: string } | undefined {
  try {
    const stored: Entry & { owner: string } = JSON.parse(text);
    if (!hasShape(stored, "v:n owner clientId room content options:o at:n user? tries:n place?:o error?:o")) {
      return undefined;
    }
    const { owner, error, ...entry } = stored;
    return { owner, entry: { ...entry, error: error && errorFrom(error, "internal") } };
  } catch {
    return undefined;
  }
}
