/** All emojis with their names and words to find them. The list is large, so it is loaded at its first use. */
import type { Gemoji } from "gemoji";

/** The most emojis that a search returns. */
const MAX_RESULTS = 60;

let pendingLoad: Promise<readonly Gemoji[]> | undefined;

/** Loads the list. After a failure the next call tries again. */
export function loadEmojis(): Promise<readonly Gemoji[]> {
  pendingLoad ??= import("gemoji").then(
    ({ gemoji }) => gemoji,
    (error: unknown) => {
      pendingLoad = undefined;
      throw error;
    },
  );
  return pendingLoad;
}

/** The emojis whose names, description or tags contain words that begin with the words of the query. */
export function findEmojis(all: readonly Gemoji[], query: string): [emoji: string, name: string][] {
  const words = query
    .toLocaleLowerCase()
    .split(/[\s:_]+/)
    .filter(Boolean);
  if (words.length === 0) return [];
  return all
    .filter(({ names, description, tags }) => {
      const emojiWords = [...names, description, ...tags]
        .join(" ")
        .toLocaleLowerCase()
        .split(/[\s_]+/);
      return words.every((word) => emojiWords.some((emojiWord) => emojiWord.startsWith(word)));
    })
    .slice(0, MAX_RESULTS)
    .map(({ emoji, description }) => [emoji, description]);
}

/** A name between colons at the end of a text, which begins the text or follows a space or an opening bracket. */
const NAME_AT_END = /(?<=^|[\s([{"']):([a-z0-9_+-]+):$/;
const PARTIAL_NAME = /(?<=^|[\s([{"']):[a-z0-9_+-]+$/;

/** Whether a text ends with the beginning of a name, so that the list will soon be needed. */
export const endsWithPartialName = (text: string): boolean => PARTIAL_NAME.test(text);

/** The name between colons at the end of a text, such as "tada" for "done :tada:". */
export const nameAtEnd = (text: string): string | undefined => NAME_AT_END.exec(text)?.[1];

/** The emoji with this name. */
export const emojiNamed = (all: readonly Gemoji[], name: string): string | undefined =>
  all.find(({ names }) => names.includes(name))?.emoji;
