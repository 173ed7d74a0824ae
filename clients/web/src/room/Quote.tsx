import { useEffect, useSyncExternalStore } from "react";
import { previewText } from "../logic/preview.ts";
import { colourStyle } from "../ui/colours.ts";
import { useActions } from "./actions.ts";

/** The message that a reply quotes: its sender, and its text on one line. A click jumps to the quoted message. */
export function Quote({ seq }: { seq: number }) {
  const { quotes, jumpTo, nameOf } = useActions();
  const found = useSyncExternalStore(quotes.subscribe, () => quotes.get(seq));
  const waiting = found === undefined;
  useEffect(() => {
    if (waiting) quotes.load(seq);
  }, [waiting, seq, quotes]);

  if (found === "missing") {
    return <span className="quote quote-missing column">The original message is not available</span>;
  }
  const name = found && (found.mine ? "You" : (found.sender.name ?? nameOf(found.sender.id)));
  return (
    <button
      type="button"
      className="quote column"
      style={found && colourStyle(found.sender.id)}
      tabIndex={-1}
      onClick={() => jumpTo(seq)}
    >
      <span className="visually-hidden">In reply to</span>
      <span className="quote-name ellipsis">{name ?? "\u00a0"}</span>
      <span className="quote-text ellipsis">{found ? previewText(found) : "\u00a0"}</span>
    </button>
  );
}
