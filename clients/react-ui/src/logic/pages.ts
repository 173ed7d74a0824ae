import { errorText } from "./connection.js";

/** One page of results. `next` is the cursor of the next page. */
export interface Page<T> {
  readonly items: readonly T[];
  readonly next: string | null;
}

/** Fetches a page. The first page has no cursor. */
export type FetchPage<T> = (cursor: string | undefined) => Promise<Page<T>>;

/**
 * All pages that were fetched so far, joined to one page. The pages of the previous query stay until the first page of
 * the next query arrives or fails.
 */
export interface PagedState<T> {
  readonly page: Page<T> | undefined;
  readonly busy: boolean;
  readonly error: string | undefined;
}

type UpdateState<T> = (change: (before: PagedState<T>) => PagedState<T>) => void;

/**
 * Returns a pager: `more` fetches the next page. After `cancel`, when another query replaced this one, late answers are
 * ignored.
 */
export function createPager<T>(
  fetchPage: FetchPage<T>,
  update: UpdateState<T>,
): { readonly more: () => Promise<void>; readonly cancel: () => void } {
  let loaded: Page<T> | undefined;
  let busy = false;
  let cancelled = false;
  return {
    more: async () => {
      if (busy || cancelled || loaded?.next === null) return;
      busy = true;
      update((before) => ({ ...before, busy }));
      let change: Partial<PagedState<T>>;
      try {
        const { items, next } = await fetchPage(loaded?.next ?? undefined);
        loaded = { items: [...(loaded?.items ?? []), ...items], next };
        change = { page: loaded, error: undefined };
      } catch (failure) {
        // The pages of the previous query must not stay under the words of this one.
        change = { page: loaded, error: errorText(failure) };
      }
      busy = false;
      if (!cancelled) update((before) => ({ ...before, ...change, busy }));
    },
    cancel: () => {
      cancelled = true;
    },
  };
}
