/** Long because the test sends two thousand messages and then scrolls through them. */
import { expect, test } from "vitest";
import { Chat } from "../support/chat.js";
import { printFigures, watchLongTasks, watchShownSeqs } from "../support/measure.js";
import { scrollUp } from "../support/scroll.js";

const chat = new Chat();

/** Each writer sends fewer messages than the limit of messages allows at once. */
const [WRITERS, EACH] = [200, 10];
/** The number of requests that run at the same time. */
const PARALLEL = 20;

/** Sends all messages of all writers, as fast as the system accepts them. Returns their seqs. */
async function sendBurst(writers: readonly string[], room: string): Promise<number[]> {
  const seqs: number[] = [];
  const waiting = [...writers];
  const sendNext = async () => {
    for (let writer = waiting.shift(); writer !== undefined; writer = waiting.shift()) {
      for (let number = 1; number <= EACH; number += 1) {
        seqs.push(await chat.post(writer, room, `number ${number} of ${writer}`));
      }
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, sendNext));
  return seqs;
}

test("2,000 live messages are all shown, and no task takes three seconds", { timeout: 180_000 }, async () => {
  const ada = await chat.person("Ada");
  const name = chat.name("Burst");
  const writers = Array.from({ length: WRITERS }, (_, number) => `writer-${number}`);
  const room = await chat.room(name, ["carol", ada.id, ...writers]);
  const firstSeq = await chat.post("carol", room, "before the burst");
  await ada.signIn();
  await ada.open(name);
  await ada.row("before the burst").waitFor();
  const longTasks = await watchLongTasks(ada.page);
  const shownSeqs = await watchShownSeqs(ada.page);

  const startedAt = Date.now();
  const seqs = await sendBurst(writers, room);
  const sendMs = Date.now() - startedAt;
  expect(new Set(seqs).size).toBe(WRITERS * EACH);
  const newest = ada.messages.locator(`article[data-seq="${Math.max(...seqs)}"]`);
  await newest.waitFor({ timeout: 60_000 });
  const shownMs = Date.now() - startedAt;
  const longTasksMs = await longTasks();
  printFigures("live messages", { messages: seqs.length, sendMs, shownMs, longTasksMs });
  expect(Math.max(0, ...longTasksMs)).toBeLessThan(3000);

  // The list contains only the rows near the view, so the test scrolls through all of them.
  await scrollUp(ada.messages, { seq: firstSeq, px: 400, steps: 5000 });
  const shown = new Set(await shownSeqs());
  expect(seqs.filter((seq) => !shown.has(seq))).toEqual([]);
});
