/** Invisible characters, and the Arabic tatweel, which stretches a word. */
const INVISIBLE = /[\p{DI}\u0640]/gu;
/** Marks that people omit, as in the folding of the server: not those that make other letters of Kana. */
const OMITTED =
  /(?![\u3099\u309a])(?=\p{M})[\p{sc=Zinh}\p{sc=Latn}\p{sc=Grek}\p{sc=Cyrl}\p{sc=Arab}\p{sc=Hebr}\p{sc=Syrc}]/gu;
/** Letters without a decomposition that differ from plain letters by a stroke or a hook, and ligatures. */
const PLAIN: Readonly<Record<string, string>> = Object.fromEntries(
  "æae œoe øo łl đd ðd ħh ŧt þth ŋn ςσ ґг ٱا ىي یي کك ةه"
    .split(" ")
    .map(([letter = "", ...plain]) => [letter, plain.join("")]),
);

/** The form of a text in which names are compared: without case and accents, so that "Lukasz" finds "Łukasz". */
export const fold = (text: string): string =>
  text
    .normalize("NFKD")
    .replace(INVISIBLE, "")
    .replace(OMITTED, "")
    .toLowerCase()
    .toUpperCase()
    .toLowerCase()
    .replace(/\P{ASCII}/gu, (letter) => PLAIN[letter] ?? letter);
