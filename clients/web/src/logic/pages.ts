import { errorWords } from "./connection.ts";

/** One page of what was asked for; `next` leads to the one after it. */
export interface Page<T> {
  readonly items: readonly T[];
  readonly next: string | null;
}

/** Asks for a page, the first one without a cursor. */
export type AskPage<T> = (cursor: string | undefined) => Promise<Page<T>>;

/** What came of asking: the pages so far as one. That of what was asked before stands until there is another. */
export interface Paged<T> {
  readonly page: Page<T> | undefined;
  readonly busy: boolean;
  readonly error: string | undefined;
}

/** Changes what is shown. */
type Tell<T> = (change: (before: Paged<T>) => Paged<T>) => void;

/** Reads page after page. Once it is ended, what comes late is of no use: something else is asked for. */
export function pager<T>(
  ask: AskPage<T>,
  tell: Tell<T>,
): { readonly more: () => Promise<void>; readonly end: () => void } {
  let all: Page<T> | undefined;
  let busy = false;
  let ended = false;
  return {
    more: async () => {
      if (busy || ended || all?.next === null) return;
      busy = true;
      tell((before) => ({ ...before, busy }));
      let change: Partial<Paged<T>>;
      try {
        const { items, next } = await ask(all?.next ?? undefined);
        all = { items: [...(all?.items ?? []), ...items], next };
        change = { page: all, error: undefined };
      } catch (failure) {
        change = { error: errorWords(failure) };
      }
      busy = false;
      if (!ended) tell((before) => ({ ...before, ...change, busy }));
    },
    end: () => {
      ended = true;
    },
  };
}
