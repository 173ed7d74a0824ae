/** Cuts texts between the characters that users see, and keeps names from changing the direction of the text around them. */

/** The characters that embed, override or isolate a direction. */
const BIDI_CONTROLS = /[\u202a-\u202e\u2066-\u2069]/g;
/** A character of a script that is written from right to left. */
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

let segmenter: Intl.Segmenter | undefined;

/**
 * Splits a text into grapheme clusters: the characters that users see. Splits it into code points where the platform has
 * no `Intl.Segmenter`, such as Firefox before 125.
 */
export function* graphemes(text: string): Generator<{ readonly segment: string; readonly index: number }> {
  if (Intl.Segmenter) {
    segmenter ??= new Intl.Segmenter();
    yield* segmenter.segment(text);
    return;
  }
  let index = 0;
  for (const segment of text) {
    yield { segment, index };
    index += segment.length;
  }
}

/** Shortens a text to at most `max` grapheme clusters and an ellipsis. */
export function shorten(text: string, max: number): string {
  let count = 0;
  for (const { index } of graphemes(text)) {
    if (count === max) return `${text.slice(0, index).trimEnd()}…`;
    count += 1;
  }
  return text;
}

/** Removes the characters by which a name could reverse itself or the text that follows. */
export const withoutBidi = (name: string): string => name.replace(BIDI_CONTROLS, "");

/** Prepares a name for use inside a sentence: a name that is written from right to left does not move its neighbours. */
export function isolate(name: string): string {
  const plain = withoutBidi(name);
  return RIGHT_TO_LEFT.test(plain) ? `\u2068${plain}\u2069` : plain;
}
