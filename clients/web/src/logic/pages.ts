import { errorText } from "./connection.ts";

/** One page of results. `next` is the cursor of the next page. */
export interface Page<T> {
  readonly items: readonly T[];
  readonly next: string | null;
}

/** Fetches a page. The first page has no cursor. */
export type FetchPage<T> = (cursor: string | undefined) => Promise<Page<T>>;

/**
 * All pages that were fetched so far, joined to one page. The pages of the previous query stay until the first page of
 * the next query arrives.
 */
export interface PagedState<T> {
  readonly page: Page<T> | undefined;
  readonly busy: boolean;
  readonly error: string | undefined;
}

type Update<T> = (change: (before: PagedState<T>) => PagedState<T>) => void;

/**
 * Makes a pager: `more` fetches the next page. After `cancel` late answers are ignored, because the query was replaced.
 */
export function createPager<T>(
  fetchPage: FetchPage<T>,
  update: Update<T>,
): { readonly more: () => Promise<void>; readonly cancel: () => void } {
  let all: Page<T> | undefined;
  let busy = false;
  let cancelled = false;
  return {
    more: async () => {
      if (busy || cancelled || all?.next === null) return;
      busy = true;
      update((before) => ({ ...before, busy }));
      let change: Partial<PagedState<T>>;
      try {
        const { items, next } = await fetchPage(all?.next ?? undefined);
        all = { items: [...(all?.items ?? []), ...items], next };
        change = { page: all, error: undefined };
      } catch (failure) {
        change = { error: errorText(failure) };
      }
      busy = false;
      if (!cancelled) update((before) => ({ ...before, ...change, busy }));
    },
    cancel: () => {
      cancelled = true;
    },
  };
}
