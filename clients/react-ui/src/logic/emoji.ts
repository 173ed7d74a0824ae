/** The emojis for reactions and messages, with their names for screen readers. */
export const EMOJIS: readonly (readonly [emoji: string, name: string])[] = [
  ["👍", "thumbs up"],
  ["❤️", "heart"],
  ["😂", "tears of joy"],
  ["🎉", "party"],
  ["😮", "surprised"],
  ["🙏", "thank you"],
  ["👎", "thumbs down"],
  ["🔥", "fire"],
  ["👀", "eyes"],
  ["✅", "done"],
  ["💯", "hundred"],
  ["🚀", "rocket"],
  ["😀", "grin"],
  ["😅", "sweat smile"],
  ["😉", "wink"],
  ["😍", "heart eyes"],
  ["🤔", "thinking"],
  ["😎", "cool"],
  ["🥳", "celebrating"],
  ["😢", "crying"],
  ["😡", "angry"],
  ["😴", "asleep"],
  ["🙈", "see no evil"],
  ["🤯", "mind blown"],
  ["👏", "clapping"],
  ["🙌", "raised hands"],
  ["💪", "strong"],
  ["🤝", "handshake"],
  ["👋", "wave"],
  ["🤞", "fingers crossed"],
  ["☕", "coffee"],
  ["🍵", "tea"],
  ["🍕", "pizza"],
  ["🍰", "cake"],
  ["🌱", "seedling"],
  ["🌞", "sun"],
  ["⭐", "star"],
  ["💡", "idea"],
  ["📌", "pin"],
  ["⚠️", "warning"],
  ["❓", "question"],
  ["❗", "exclamation"],
];

/** How far each arrow key moves in the picker, which has six emojis in a row. */
const INDEX_STEPS: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -6, ArrowDown: 6 };

/** Returns the index in the picker that an arrow key, Home or End moves to; undefined for other keys. */
export function moveInGrid(key: string, at: number, count: number): number | undefined {
  if (key === "Home") return 0;
  if (key === "End") return count - 1;
  const step = INDEX_STEPS[key];
  if (step === undefined) return undefined;
  const to = at + step;
  return to < 0 || to >= count ? at : to;
}
