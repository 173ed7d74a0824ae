import type { Message } from "@tidings/client";
import { useTidings } from "@tidings/react";
import { useSyncExternalStore } from "react";
import { listNames } from "../logic/names.js";
import { namesOf } from "../state/names.js";
import { useActions } from "./actions.js";
import { useRowTabIndex } from "./rowTabIndex.js";

/** The reactions below a message. A click adds the user's reaction or removes it. */
export function Reactions({ message, enabled }: { message: Message; enabled: boolean }) {
  const { toggleReaction, nameOf } = useActions();
  const tabIndex = useRowTabIndex();
  const directory = namesOf(useTidings());
  const getNames = () =>
    message.reactions.flatMap(({ users }) => users.map((user) => directory.nameOf(user) ?? "")).join("\0");
  // Renders again when the name of a user is known.
  useSyncExternalStore(directory.subscribe, getNames, getNames);
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
