/** Scrolls as a person does, and measures inside the page. */
import type { Locator } from "playwright-core";

/** The measurements of a scroll upwards. */
export interface ScrollResult {
  /** The lowest seq that was in the page. */
  readonly oldest: number;
  /** The largest number of rows in the page. */
  readonly maxRows: number;
  /** The largest difference, in px, between the movement of a visible text and the scroll distance. */
  readonly largestJump: number;
  /** How often that difference was measured. */
  readonly samples: number;
  readonly steps: number;
}

/**
 * Scrolls a list up by `px` at a time until the page contains a seq or all steps are used. After each step it compares
 * the movement of a text that stays visible with the scroll distance: the two must be equal, even when rows were added
 * above.
 */
export function scrollUp(
  list: Locator,
  to: { seq: number; px: number; steps: number },
): Promise<ScrollResult> {
  return list.evaluate((box, { seq, px, steps }) => {
    const view = box.getBoundingClientRect();
    const rows = () => [...box.querySelectorAll<HTMLElement>("article[data-seq]")];
    // Measures the text, because a row loses its name and its space when an earlier message of the same sender appears.
    const topOf = (row: HTMLElement | undefined) =>
      row?.querySelector(".tidings-bubble-text")?.getBoundingClientRect().top ?? Number.NaN;
    const isVisible = (top: number) => top >= view.top && top < view.bottom;
    const nextFrame = () => new Promise<void>((done) => requestAnimationFrame(() => setTimeout(done)));
    const run = async () => {
      let [oldest, maxRows, largestJump, samples, at] = [Number.POSITIVE_INFINITY, 0, 0, 0, 0];
      for (; at < steps && oldest > seq; at += 1) {
        const tracked = rows().find((row) => isVisible(topOf(row)));
        const before = topOf(tracked);
        const from = box.scrollTop;
        box.scrollTop = from - px;
        const moved = from - box.scrollTop;
        await nextFrame();
        const now = rows();
        const after = topOf(now.find((row) => row.dataset.key === tracked?.dataset.key));
        if (isVisible(after)) {
          samples += 1;
          largestJump = Math.max(largestJump, Math.abs(after - before - moved));
        }
        maxRows = Math.max(maxRows, box.querySelectorAll("[data-key]").length);
        oldest = Math.min(oldest, ...now.map((row) => Number(row.dataset.seq)));
      }
      return { oldest, maxRows, largestJump: Math.round(largestJump * 10) / 10, samples, steps: at };
    };
    return run();
  }, to);
}
