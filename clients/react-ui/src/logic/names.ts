import { graphemes, isolate, withoutBidi } from "./plainText.js";

/** The number of avatar colours in the style sheet. */
export const AVATAR_COLOUR_COUNT = 10;

/** Returns the name to show for a user. A missing name is made from the id: `ada-lovelace` becomes "Ada Lovelace". */
export function displayName(id: string, name?: string | null): string {
  const shown = withoutBidi(name ?? "");
  if (shown) return shown;
  const words = withoutBidi(id)
    .split(/[-_.]+/)
    .filter(Boolean);
  return words.map((word) => word.replace(/^./u, (first) => first.toUpperCase())).join(" ") || id;
}

/** The name of the sender of a message. */
export const senderName = ({ sender }: { sender: { id: string; name?: string | null } }): string =>
  displayName(sender.id, sender.name);

/** Returns a number with a noun: "1 member", "2 members". */
export const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** The one or two initials of a name. */
export function initials(name: string): string {
  const words = name.split(/[\s\-_.]+/).filter((word) => /[\p{L}\p{N}]/u.test(word));
  const letters = words.map(
    (word) => [...graphemes(word)].find(({ segment }) => /[\p{L}\p{N}]/u.test(segment))?.segment ?? "",
  );
  const picked = letters.length > 1 ? `${letters[0]}${letters.at(-1)}` : (letters[0] ?? "?");
  return picked.toLocaleUpperCase();
}

/** Returns the number of a user's avatar colour, below `AVATAR_COLOUR_COUNT`. It is the same on every device. */
export function colourNumberOf(id: string): number {
  let sum = 7;
  for (const character of id) sum = (Math.imul(sum, 31) + (character.codePointAt(0) ?? 0)) >>> 0;
  return sum % AVATAR_COLOUR_COUNT;
}

/** Whether one text is probably a mistyped form of the other: few letters are added, left out or replaced. */
export function isSimilar(one: string, other: string): boolean {
  const [a, b] = [one, other].map((text) => [...text.toLocaleLowerCase()]) as [string[], string[]];
  // The number of letters to change between the beginnings of `a` and of `b`, row by row.
  let row = b.map((_, at) => at + 1);
  for (const [at, letter] of a.entries()) {
    let [diagonal, left] = [at, at + 1];
    row = row.map((above, column) => {
      left = Math.min(above + 1, left + 1, diagonal + (letter === b[column] ? 0 : 1));
      diagonal = above;
      return left;
    });
  }
  return (row.at(-1) ?? a.length) <= (a.length > 4 ? 2 : 1);
}

/** Joins names: "Ada", "Ada and Bo", "Ada, Bo and 3 others". */
export function listNames(names: readonly string[], maxNames = 3): string {
  const shown = names.slice(0, maxNames).map(isolate);
  if (names.length <= 1) return shown[0] ?? "";
  if (names.length <= maxNames) return `${shown.slice(0, -1).join(", ")} and ${shown.at(-1)}`;
  const others = names.length - maxNames + 1;
  return `${shown.slice(0, -1).join(", ")} and ${others} others`;
}

/** Returns the text about typing users; empty when nobody is typing. */
export function typingText(names: readonly string[]): string {
  if (names.length === 0) return "";
  if (names.length > 3) return "Several people are typing";
  return `${listNames(names)} ${names.length === 1 ? "is" : "are"} typing`;
}

/**
 * Finds the users in a typed list of names or ids, separated by commas, semicolons or line breaks. Returns each user
 * once, except the user `me`. `userIdOf` makes an id from a name.
 * @returns the ids, with the names as typed
 */
export function parsePeople(
  text: string,
  userIdOf: (name: string) => string,
  me?: string,
): { user: string; name: string }[] {
  const namesByUser = new Map<string, string>();
  for (const part of text.split(/[,;\n]+/)) {
    const name = part.trim().replace(/\s+/g, " ").replace(/^@/, "");
    if (!/[\p{L}\p{N}]/u.test(name)) continue;
    const user = userIdOf(name);
    if (user !== me && !namesByUser.has(user)) namesByUser.set(user, name);
  }
  return [...namesByUser].map(([user, name]) => ({ user, name }));
}
