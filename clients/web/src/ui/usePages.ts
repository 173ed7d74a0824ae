import { useCallback, useEffect, useRef, useState } from "react";
import { createPager, type FetchPage, type PagedState } from "../logic/pages.ts";

const EMPTY = { page: undefined, busy: false, error: undefined };

/**
 * Fetches pages with `fetchPage` after a delay; without `fetchPage`, fetches nothing. Each new function starts a new
 * query, so the function must be memoised.
 */
export function usePages<T>(
  fetchPage: FetchPage<T> | undefined,
  delayMs: number,
): PagedState<T> & { readonly more: () => void } {
  const [paged, setPaged] = useState<PagedState<T>>(EMPTY);
  const current = useRef<ReturnType<typeof createPager<T>>>(undefined);
  useEffect(() => {
    if (!fetchPage) {
      setPaged(EMPTY);
      return;
    }
    const pages = createPager(fetchPage, setPaged);
    setPaged((before) => ({ ...before, busy: true }));
    const timer = setTimeout(() => {
      current.current = pages;
      void pages.more();
    }, delayMs);
    return () => {
      clearTimeout(timer);
      pages.cancel();
      current.current = undefined;
    };
  }, [fetchPage, delayMs]);
  const more = useCallback(() => void current.current?.more(), []);
  return { ...paged, more };
}
