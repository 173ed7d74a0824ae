import { type RefObject, useCallback, useEffect, useRef, useState } from "react";
import { plural } from "../logic/names.js";
import { Button } from "./Button.js";

interface MoreMembersProps {
  /** The list of members, and the number of its rows. */
  readonly list: RefObject<HTMLElement | null>;
  readonly count: number;
  /** Whether the list has another page. The component must stay after the last page, to announce it. */
  readonly hasMore: boolean;
  readonly onMore: () => Promise<void>;
}

/** The button below a list of members that has another page. It also loads the page when the user scrolls to it. */
export function MoreMembers({ list, count, hasMore, onMore }: MoreMembersProps) {
  const end = useRef<HTMLDivElement>(null);
  const [busy, setBusy] = useState(false);
  const [announced, setAnnounced] = useState("");
  const latestCount = useRef(count);
  /** The load whose rows have not arrived: the number of rows before it, and whether the button started it. */
  const pending = useRef<{ readonly before: number; readonly pressed: boolean }>(undefined);
  const load = useCallback(
    (pressed: boolean) => {
      pending.current = { before: latestCount.current, pressed };
      setBusy(true);
      void onMore().finally(() => setBusy(false));
    },
    [onMore],
  );
  useEffect(() => {
    latestCount.current = count;
    const { before = count, pressed } = pending.current ?? {};
    if (count <= before) return;
    pending.current = undefined;
    setAnnounced(`${plural(count - before, "more member")}, ${count} in the list`);
    // After the last page the focus is lost with the button.
    const row = list.current?.children[before];
    if (!pressed || document.activeElement !== document.body || !(row instanceof HTMLElement)) return;
    row.tabIndex = -1;
    row.focus();
  }, [list, count]);
  useEffect(() => {
    if (!hasMore || !end.current || typeof IntersectionObserver === "undefined") return;
    const observer = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) load(false);
    });
    observer.observe(end.current);
    return () => observer.disconnect();
  }, [hasMore, load]);
  return (
    <>
      <span className="tidings-visually-hidden" role="status">
        {announced}
      </span>
      {hasMore && (
        <div ref={end} aria-busy={busy || undefined}>
          <Button variant="quiet" onClick={() => load(true)}>
            Show more members
          </Button>
        </div>
      )}
    </>
  );
}
