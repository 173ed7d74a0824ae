/** The longest name that is taken, in characters. */
export const NAME_LIMIT = 60;

/**
 * Takes a typed name into the form in which it is shown: one space between words, none around them.
 * @param {unknown} name
 * @returns {string | undefined} undefined when it is no name: empty, overlong, with control characters.
 */
export function cleanName(name) {
  if (typeof name !== "string") return undefined;
  const clean = name.normalize("NFC").trim().replace(/\s+/g, " ");
  if (clean === "" || [...clean].length > NAME_LIMIT || /\p{Cc}/u.test(clean)) return undefined;
  return clean;
}

/**
 * The user id that belongs to a name: lower-case letters, digits and dashes, the same each time. Accents are dropped;
 * where letters have no such form a short hash keeps different names apart.
 * @param {string} name
 * @returns {string}
 */
export function userIdOf(name) {
  const plain = name.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const slug = plain.replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "");
  const lost = plain.replace(/[a-z0-9]/g, "");
  if (slug !== "" && !/[\p{L}\p{N}]/u.test(lost)) return slug;
  return `${slug === "" ? "user" : slug}-${hash(plain)}`;
}

/**
 * FNV-1a over UTF-16 units, as eight hexadecimal digits.
 * @param {string} text
 */
function hash(text) {
  let value = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) {
    value = Math.imul(value ^ text.charCodeAt(at), 0x01000193) >>> 0;
  }
  return value.toString(16).padStart(8, "0");
}
