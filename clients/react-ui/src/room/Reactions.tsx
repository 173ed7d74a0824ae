import type { Message } from "@tidings/client";
import { listNames } from "../logic/names.js";
import { useActions } from "./actions.js";
import { useRowTabIndex } from "./rowTabIndex.js";

/** The reactions below a message. A click adds the user's reaction or removes it. */
export function Reactions({ message, enabled }: { message: Message; enabled: boolean }) {
  const { toggleReaction, nameOf } = useActions();
  const tabIndex = useRowTabIndex();
  return (
    <div className="tidings-reactions">
      {message.reactions.map((reaction) => {
        const names = listNames(reaction.users.map(nameOf), 4);
        return (
          <button
            key={reaction.emoji}
            type="button"
            className="tidings-reaction"
            aria-pressed={reaction.mine}
            aria-label={`${reaction.emoji} ${reaction.count}, ${names}`}
            title={names}
            disabled={!enabled}
            tabIndex={tabIndex}
            onClick={() => toggleReaction(message, reaction.emoji)}
          >
            <span aria-hidden="true">{reaction.emoji}</span>
            <span aria-hidden="true">{reaction.count}</span>
          </button>
        );
      })}
    </div>
  );
}
