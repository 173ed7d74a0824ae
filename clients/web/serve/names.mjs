/** The longest permitted name, in characters. */
export const MAX_NAME_LENGTH = 60;

/**
 * Normalizes a typed name: one space between words, and no spaces around them.
 * @param {unknown} name
 * @returns {string | undefined} undefined when the name is empty, too long, or has control characters
 */
export function cleanName(name) {
  if (typeof name !== "string") return undefined;
  const cleaned = name.normalize("NFC").trim().replace(/\s+/g, " ");
  if (cleaned === "" || [...cleaned].length > MAX_NAME_LENGTH || /\p{Cc}/u.test(cleaned)) return undefined;
  return cleaned;
}

/**
 * Makes the user id for a name: lower-case letters, digits and dashes. The same name always gives the same id. Accents
 * are removed. If other letters are left, a short hash makes the ids of different names different.
 * @param {string} name
 * @returns {string}
 */
export function userIdOf(name) {
  const unaccented = name.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const slug = unaccented.replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "");
  const unconverted = unaccented.replace(/[a-z0-9]/g, "");
  if (slug !== "" && !/[\p{L}\p{N}]/u.test(unconverted)) return slug;
  return `${slug === "" ? "user" : slug}-${hash(unaccented)}`;
}

/**
 * Returns the FNV-1a hash of the UTF-16 code units, as eight hexadecimal digits.
 * @param {string} text
 */
function hash(text) {
  let value = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) {
    value = Math.imul(value ^ text.charCodeAt(index), 0x01000193) >>> 0;
  }
  return value.toString(16).padStart(8, "0");
}
