import type { Message } from "@tidings/client";
import { useEffect, useState } from "react";
import { colourOf } from "../logic/names.ts";
import { oneLine } from "../logic/preview.ts";
import { useActions } from "./actions.ts";

/** The message that another one answers: who said it and its first line. A click leads there. */
export function Quote({ seq }: { seq: number }) {
  const { find, jumpTo, nameOf } = useActions();
  const [found, setFound] = useState<Message | "missing" | undefined>(() => {
    const held = find(seq);
    return held instanceof Promise ? undefined : held;
  });
  useEffect(() => {
    let current = true;
    void Promise.resolve(find(seq)).then((message) => {
      if (current) setFound(message ?? "missing");
    });
    return () => {
      current = false;
    };
  }, [seq, find]);

  if (found === "missing") {
    return <span className="quote quote-missing">The original message is not there</span>;
  }
  const name = found && (found.mine ? "You" : (found.sender.name ?? nameOf(found.sender.id)));
  return (
    <button
      type="button"
      className="quote"
      data-colour={found ? colourOf(found.sender.id) : undefined}
      tabIndex={-1}
      onClick={() => jumpTo(seq)}
    >
      <span className="visually-hidden">In reply to</span>
      <span className="quote-name">{name ?? "\u00a0"}</span>
      <span className="quote-text">{found ? oneLine(found) : "\u00a0"}</span>
    </button>
  );
}
