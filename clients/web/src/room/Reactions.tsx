import type { Message } from "@tidings/client";
import { listNames } from "../logic/names.ts";
import { useActions } from "./actions.ts";

/** The reactions below a message; a click adds one's own or takes it back. */
export function Reactions({ message, enabled }: { message: Message; enabled: boolean }) {
  const { toggleReaction, nameOf } = useActions();
  return (
    <div className="reactions">
      {message.reactions.map((reaction) => {
        const who = listNames(reaction.users.map(nameOf), 4);
        return (
          <button
            key={reaction.emoji}
            type="button"
            className="reaction"
            aria-pressed={reaction.mine}
            aria-label={`${reaction.emoji} ${reaction.count}, ${who}`}
            title={who}
            disabled={!enabled}
            tabIndex={-1}
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
