import { expect, test } from "vitest";
import { Chat } from "../support/chat.js";
import type { Person } from "../support/person.js";

const chat = new Chat();
/** Words of three scripts; the last is written in both directions. */
const WORDS = {
  hebrew: "שלום לכולם אני מגיע מחר בבוקר עם כל הציוד ואולי גם עוגה".split(" "),
  arabic: "مرحبا بالجميع سأصل غدا صباحا مع كل المعدات وربما كعكة أيضا".split(" "),
  latin: "Hello to all of you, we arrive tomorrow with cake".split(" "),
};

/** Texts of growing length, so that the last line of some text ends at every distance from the edge of its bubble. */
const wordPrefixes = (words: readonly string[]): string[] =>
  words.map((_, at) => words.slice(0, at + 1).join(" "));

/** The texts of the loaded messages whose glyphs touch the time or the ticks of the message. */
function coveredTexts(person: Person): Promise<string[]> {
  return person.rows.evaluateAll((rows) =>
    rows.flatMap((row) => {
      const text = row.querySelector(".tidings-bubble-text");
      const meta = row.querySelector(".tidings-bubble-meta")?.getBoundingClientRect();
      const bubble = row.querySelector(".tidings-bubble")?.getBoundingClientRect();
      if (!text || !meta || !bubble) return ["a row has no text, time or bubble"];
      const range = document.createRange();
      const covered: string[] = [];
      const walker = document.createTreeWalker(text, NodeFilter.SHOW_TEXT);
      for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        range.selectNodeContents(node);
        for (const line of range.getClientRects()) {
          const across = Math.min(line.right, meta.right) - Math.max(line.left, meta.left);
          const down = Math.min(line.bottom, meta.bottom) - Math.max(line.top, meta.top);
          if (across > 1 && down > 1) covered.push(`covered: ${text.textContent}`);
        }
      }
      const isInside = meta.left >= bubble.left && meta.right <= bubble.right && meta.bottom <= bubble.bottom;
      return isInside ? covered : [...covered, `outside: ${text.textContent}`];
    }),
  );
}

test("time and ticks never cover a text, in any direction of writing", async () => {
  const ada = await chat.signedIn("Ada");
  const name = chat.name("שיחה");
  const room = await chat.room(name, [ada.id, "bo"]);
  const texts = [
    ...Object.values(WORDS).flatMap(wordPrefixes),
    `Meeting notes:\n${WORDS.hebrew.join(" ")}`,
    `${WORDS.arabic.join(" ")}\nsee you`,
    `${WORDS.hebrew.slice(0, 4).join(" ")} tidings ${WORDS.hebrew.slice(4).join(" ")} 2026`,
  ];
  for (const [at, text] of texts.entries()) await chat.post(at % 2 ? ada.id : "bo", room, text);
  await ada.open(name);
  const seenTexts = new Set<string>();
  await ada.messages.evaluate((box) => box.scrollTo(0, box.scrollHeight));
  // The list contains only the rows near the view, so it is read from its end to its start.
  await expect
    .poll(async () => {
      for (const text of await ada.texts()) seenTexts.add(text);
      expect(await coveredTexts(ada)).toEqual([]);
      await ada.messages.evaluate((box) => box.scrollBy(0, -300));
      return seenTexts.size;
    })
    .toBe(texts.length);
  await ada.messages.evaluate((box) => box.scrollTo(0, box.scrollHeight));
  await expect.poll(async () => (await ada.texts()).at(-1)).toBe(texts.at(-1));
  // The time of a Hebrew text is on its left.
  const last = ada.rows.last();
  const time = await last.locator("time").boundingBox();
  const bubble = await last.locator(".tidings-bubble").boundingBox();
  expect((time?.x ?? 0) - (bubble?.x ?? 0)).toBeLessThan((bubble?.width ?? 0) / 2);
  await chat.screenshot(ada, "right-to-left");
  await ada.page.setViewportSize({ width: 390, height: 844 });
  await ada.rows.last().waitFor();
  expect(await coveredTexts(ada)).toEqual([]);
  await chat.screenshot(ada, "right-to-left-phone");
});
