import { useCallback, useEffect, useRef, useState } from "react";
import { type AskPage, type Paged, pager } from "../logic/pages.ts";

const NOTHING = { page: undefined, busy: false, error: undefined };

/**
 * Pages of what `ask` asks for, which begins once it has stood for `pauseMs`; nothing is asked for without it. Another
 * function asks for something else: it has to stay the same while the same is wanted.
 */
export function usePages<T>(
  ask: AskPage<T> | undefined,
  pauseMs: number,
): Paged<T> & { readonly more: () => void } {
  const [paged, setPaged] = useState<Paged<T>>(NOTHING);
  const current = useRef<ReturnType<typeof pager<T>>>(undefined);
  useEffect(() => {
    if (!ask) {
      setPaged(NOTHING);
      return;
    }
    const pages = pager(ask, setPaged);
    setPaged((before) => ({ ...before, busy: true }));
    const timer = setTimeout(() => {
      current.current = pages;
      void pages.more();
    }, pauseMs);
    return () => {
      clearTimeout(timer);
      pages.end();
      current.current = undefined;
    };
  }, [ask, pauseMs]);
  const more = useCallback(() => void current.current?.more(), []);
  return { ...paged, more };
}
