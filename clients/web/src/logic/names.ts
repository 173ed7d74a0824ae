import { userIdOf } from "../../serve/names.mjs";

export { cleanName, NAME_LIMIT, userIdOf } from "../../serve/names.mjs";

/** How many colours of avatars the style sheet has. */
export const AVATAR_COLOURS = 10;

/** A name to show for a user of whom only the id may be known: `ada-lovelace` reads as "Ada Lovelace". */
export function displayName(id: string, name?: string | null): string {
  if (name) return name;
  const words = id.split(/[-_.]+/).filter(Boolean);
  return words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join(" ") || id;
}

/** One or two letters that stand for a name. */
export function initials(name: string): string {
  const words = name.split(/[\s\-_.]+/).filter((word) => /[\p{L}\p{N}]/u.test(word));
  const firsts = words.map((word) => /[\p{L}\p{N}]/u.exec(word)?.[0] ?? "");
  const picked = firsts.length > 1 ? `${firsts[0]}${firsts.at(-1)}` : (firsts[0] ?? "?");
  return picked.toLocaleUpperCase();
}

/** Which of the avatar colours is somebody's: the same one each time, on every device. */
export function colourOf(id: string): number {
  let sum = 7;
  for (const character of id) sum = (Math.imul(sum, 31) + (character.codePointAt(0) ?? 0)) >>> 0;
  return sum % AVATAR_COLOURS;
}

/** "Ada", "Ada and Bo", "Ada, Bo and 3 others". */
export function listNames(names: readonly string[], most = 3): string {
  if (names.length <= 1) return names[0] ?? "";
  if (names.length <= most) return `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
  const others = names.length - most + 1;
  return `${names.slice(0, most - 1).join(", ")} and ${others} others`;
}

/** The line of who types; empty when nobody does. */
export function typingLine(names: readonly string[]): string {
  if (names.length === 0) return "";
  if (names.length > 3) return "Several people are typing";
  return `${listNames(names)} ${names.length === 1 ? "is" : "are"} typing`;
}

/**
 * The users that a typed text names: names or ids separated by commas or lines, each once, without oneself.
 * @returns pairs of id and the name as typed
 */
export function parsePeople(text: string, me?: string): { user: string; name: string }[] {
  const found = new Map<string, string>();
  for (const part of text.split(/[,;\n]+/)) {
    const name = part.trim().replace(/\s+/g, " ").replace(/^@/, "");
    if (!/[\p{L}\p{N}]/u.test(name)) continue;
    const user = userIdOf(name);
    if (user !== me && !found.has(user)) found.set(user, name);
  }
  return [...found].map(([user, name]) => ({ user, name }));
}
