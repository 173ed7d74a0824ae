/** Scrolling as a person does it, seen from inside of the page. */
import type { Locator } from "playwright-core";

/** What a scroll upwards came to. */
export interface Scrolled {
  /** The lowest position that was in the page. */
  readonly oldest: number;
  /** How many rows were in the page, at most. */
  readonly most: number;
  /** By how many px words that stayed in sight moved other than they were scrolled, at most. */
  readonly jumped: number;
  /** How often that was looked at. */
  readonly looks: number;
  readonly steps: number;
}

/**
 * Scrolls a list up, so many px at a time, until a position is in the page or the steps are used up. Each time words
 * that stay in sight are looked at: they must have moved just as far as was scrolled, whatever came above them.
 */
export function scrollUp(list: Locator, to: { seq: number; px: number; steps: number }): Promise<Scrolled> {
  return list.evaluate((box, { seq, px, steps }) => {
    const sight = box.getBoundingClientRect();
    const rows = () => [...box.querySelectorAll<HTMLElement>("article[data-seq]")];
    // Of a row that nothing comes before any more name and space go: its words stay.
    const topOf = (row: HTMLElement | undefined) =>
      row?.querySelector(".bubble-text")?.getBoundingClientRect().top ?? Number.NaN;
    const inSight = (top: number) => top >= sight.top && top < sight.bottom;
    const painted = () => new Promise<void>((done) => requestAnimationFrame(() => setTimeout(done)));
    const run = async () => {
      let [oldest, most, jumped, looks, at] = [Number.POSITIVE_INFINITY, 0, 0, 0, 0];
      for (; at < steps && oldest > seq; at += 1) {
        const held = rows().find((row) => inSight(topOf(row)));
        const before = topOf(held);
        const from = box.scrollTop;
        box.scrollTop = from - px;
        const moved = from - box.scrollTop;
        await painted();
        const now = rows();
        const after = topOf(now.find((row) => row.dataset.key === held?.dataset.key));
        if (inSight(after)) {
          looks += 1;
          jumped = Math.max(jumped, Math.abs(after - before - moved));
        }
        most = Math.max(most, box.querySelectorAll("[data-key]").length);
        oldest = Math.min(oldest, ...now.map((row) => Number(row.dataset.seq)));
      }
      return { oldest, most, jumped: Math.round(jumped * 10) / 10, looks, steps: at };
    };
    return run();
  }, to);
}

/** Watches for long tasks from now on; the answer tells the longest so far, in ms. */
export async function watchLongTasks(list: Locator): Promise<() => Promise<number>> {
  await list.evaluate(() => {
    const seen = window as unknown as { longest: number };
    seen.longest = 0;
    new PerformanceObserver((tasks) => {
      for (const task of tasks.getEntries()) seen.longest = Math.max(seen.longest, task.duration);
    }).observe({ type: "longtask" });
  });
  return () => list.evaluate(() => (window as unknown as { longest: number }).longest);
}
