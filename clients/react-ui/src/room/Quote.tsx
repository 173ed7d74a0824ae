import { useEffect, useSyncExternalStore } from "react";
import { senderName } from "../logic/names.js";
import { previewText } from "../logic/preview.js";
import { colourStyle } from "../ui/colours.js";
import { useActions } from "./actions.js";
import { useRowTabIndex } from "./rowTabIndex.js";

/** The message that a reply quotes: its sender, and its text on one line. A click jumps to the quoted message. */
export function Quote({ seq }: { seq: number }) {
  const { quotes, jumpTo, nameOf } = useActions();
  const tabIndex = useRowTabIndex();
  const quoted = useSyncExternalStore(
    quotes.subscribe,
    () => quotes.get(seq),
    () => undefined,
  );
  const isLoading = quoted === undefined;
  useEffect(() => {
    if (isLoading) quotes.load(seq);
  }, [isLoading, seq, quotes]);

  if (quoted === "missing") {
    return (
      <span className="tidings-quote tidings-quote-missing tidings-column">
        The original message is not available
      </span>
    );
  }
  const name =
    quoted && (quoted.mine ? "You" : quoted.sender.name ? senderName(quoted) : nameOf(quoted.sender.id));
  return (
    <button
      type="button"
      className="tidings-quote tidings-column"
      style={quoted && colourStyle(quoted.sender.id)}
      tabIndex={tabIndex}
      onClick={() => jumpTo(seq)}
    >
      <span className="tidings-visually-hidden">In reply to</span>
      <span className="tidings-quote-name tidings-ellipsis" dir="auto">
        {name ?? "\u00a0"}
      </span>
      <span className="tidings-quote-text tidings-ellipsis" dir="auto">
        {quoted ? previewText(quoted) : "\u00a0"}
      </span>
    </button>
  );
}
