import { useCallback, useEffect, useRef, useState } from "react";
import { createPager, type FetchPage, type PagedState } from "../logic/pages.js";

const EMPTY_STATE = { page: undefined, busy: false, error: undefined };

/**
 * Fetches pages with `fetchPage` after a delay; without `fetchPage`, fetches nothing. Each new function starts a new
 * query, so the function must be memoised.
 */
export function usePages<T>(
  fetchPage: FetchPage<T> | undefined,
  delayMs: number,
): PagedState<T> & { readonly more: () => void } {
  const [paged, setPaged] = useState<PagedState<T>>(EMPTY_STATE);
  const currentPager = useRef<ReturnType<typeof createPager<T>>>(undefined);
  useEffect(() => {
    if (!fetchPage) {
      setPaged(EMPTY_STATE);
      return;
    }
    const pager = createPager(fetchPage, setPaged);
    setPaged((before) => ({ ...before, busy: true, error: undefined }));
    const timer = setTimeout(() => {
      currentPager.current = pager;
      void pager.more();
    }, delayMs);
    return () => {
      clearTimeout(timer);
      pager.cancel();
      currentPager.current = undefined;
    };
  }, [fetchPage, delayMs]);
  const more = useCallback(() => void currentPager.current?.more(), []);
  return { ...paged, more };
}
