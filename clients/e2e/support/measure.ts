/** Measures, inside the page, delays that a user notices, and prints the figures. */
import type { Page } from "playwright-core";

/** The times between two frames, in ms. Half of them are at most `p50`, and 99 of 100 are at most `p99`. */
export interface FrameTimes {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** Prints figures as one line of JSON behind the word `figures`, so that a program can read them from the log. */
export function printFigures(name: string, figures: Readonly<Record<string, unknown>>): void {
  process.stdout.write(`figures ${JSON.stringify({ name, ...figures })}\n`);
}

/** Starts to record long tasks, of more than 50 ms. Returns a function that gives their durations so far, in ms. */
export async function watchLongTasks(page: Page): Promise<() => Promise<number[]>> {
  await page.evaluate(() => {
    const durations: number[] = [];
    Object.assign(window, { longTasks: durations });
    new PerformanceObserver((tasks) => {
      for (const task of tasks.getEntries()) durations.push(Math.round(task.duration));
    }).observe({ type: "longtask" });
  });
  return () => page.evaluate(() => (window as unknown as { longTasks: number[] }).longTasks);
}

/** Starts to record the times between frames. Returns a function that summarises the times so far. */
export async function watchFrames(page: Page): Promise<() => Promise<FrameTimes>> {
  await page.evaluate(() => {
    const times: number[] = [];
    Object.assign(window, { frameTimes: times });
    let last: number | undefined;
    const record = (now: number) => {
      if (last !== undefined) times.push(now - last);
      last = now;
      requestAnimationFrame(record);
    };
    requestAnimationFrame(record);
  });
  return async () => {
    const times = await page.evaluate(() => (window as unknown as { frameTimes: number[] }).frameTimes);
    times.sort((a, b) => a - b);
    const quantile = (share: number) => Math.round(times[Math.ceil(times.length * share) - 1] ?? Number.NaN);
    return { count: times.length, p50: quantile(0.5), p99: quantile(0.99), max: quantile(1) };
  };
}

/** Starts to wait for a click. Returns a function that gives the time from this click to the first message, in ms. */
export async function watchFirstRow(page: Page): Promise<() => Promise<number>> {
  await page.evaluate(() => {
    const firstRowMs = new Promise<number>((resolve) => {
      const onClick = (click: MouseEvent) => {
        const check = () => {
          if (!document.querySelector("article[data-seq]")) requestAnimationFrame(check);
          else resolve(Math.round(performance.now() - click.timeStamp));
        };
        requestAnimationFrame(check);
      };
      window.addEventListener("click", onClick, { capture: true, once: true });
    });
    Object.assign(window, { firstRowMs });
  });
  return () => page.evaluate(() => (window as unknown as { firstRowMs: Promise<number> }).firstRowMs);
}

/** Starts to record which messages are in the page in any frame. Returns a function that gives their seqs so far. */
export async function watchShownSeqs(page: Page): Promise<() => Promise<number[]>> {
  await page.evaluate(() => {
    const seqs = new Set<number>();
    Object.assign(window, { shownSeqs: seqs });
    const record = () => {
      for (const row of document.querySelectorAll<HTMLElement>("article[data-seq]")) {
        seqs.add(Number(row.dataset.seq));
      }
      requestAnimationFrame(record);
    };
    record();
  });
  return () => page.evaluate(() => [...(window as unknown as { shownSeqs: Set<number> }).shownSeqs]);
}
