import { useEffect, useRef } from "react";
import { Button } from "./Button.js";

/** The button below a list of members that has another page. It also loads the page when the user scrolls to it. */
export function MoreMembers({ onMore }: { onMore: () => Promise<void> }) {
  const end = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!end.current || typeof IntersectionObserver === "undefined") return;
    const observer = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) void onMore();
    });
    observer.observe(end.current);
    return () => observer.disconnect();
  }, [onMore]);
  return (
    <div ref={end}>
      <Button variant="quiet" onClick={() => void onMore()}>
        Show more members
      </Button>
    </div>
  );
}
