import { errorFrom } from "../errors.js";
import type { Acceptance, Entry, EntryChange } from "../outbox/entry.js";
import { hasShape } from "../protocol/check.js";

/** The fields of each type of change, besides `seq` and `id`. */
const CHANGE_FIELDS: { readonly [type: string]: string | undefined } = {
  // Removes the prototype, so that a type such as `constructor` finds no inherited property.
  __proto__: null as never,
  "message:edit": "content metadata?:o mentions?:a",
  "message:delete": "",
  "reaction:add": "emoji",
  "reaction:remove": "emoji",
};

/** Whether a stored change is complete, so that it can be shown and sent. */
function isChange(change: EntryChange): boolean {
  const fields = CHANGE_FIELDS[change.type];
  return fields !== undefined && hasShape(change, `seq:n id? ${fields}`);
}

/**
 * Encodes an entry together with the tab that owns it. The names of stored fields never change, because a storage may
 * hold entries of an older kit.
 */
export function serialize(entry: Entry, owner: string): string {
  const { acceptance: place, error, view: _view, row: _row, retryAt: _retryAt, ...fields } = entry;
  const storedError = error && {
    code: error.code,
    message: error.message,
    reason: error.reason,
    field: error.field,
  };
  // A kit that does not know changes must not send a change as a message, so a stored change has no content.
  const content = entry.change ? undefined : entry.content;
  return JSON.stringify({ ...fields, content, place, error: storedError, v: 1, owner });
}

/** Decodes an entry. Returns undefined when the text is damaged. */
export function deserialize(text: string): { entry: Entry; owner: string } | undefined {
  try {
    const stored: Entry & { owner: string; place?: Acceptance } = JSON.parse(text);
    const kind = stored?.change ? "change:o" : "content";
    if (
      !hasShape(stored, `v:n owner clientId room ${kind} options:o at:n user? tries:n place?:o error?:o`) ||
      (stored.change && !isChange(stored.change))
    ) {
      return undefined;
    }
    const { owner, place, error, ...entry } = { ...stored, content: stored.content ?? "" };
    return { owner, entry: { ...entry, acceptance: place, error: error && errorFrom(error, "internal") } };
  } catch {
    return undefined;
  }
}
