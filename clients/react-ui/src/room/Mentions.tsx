import { createContext, type ReactNode, useContext, useMemo } from "react";
import { type MentionLabel, mentionLabels, splitMentions } from "../logic/mentions.js";
import { useChatUi } from "../state/chatUi.js";
import { useNamesIn } from "./useRoomMembers.js";

const LabelsContext = createContext<readonly MentionLabel[]>([]);

interface MentionsProps {
  readonly room: string;
  /** The ids of the mentioned users. */
  readonly users: readonly string[];
  readonly children: ReactNode;
}

/** Gives the text inside the mentions of its message. */
export function Mentions({ room, users, children }: MentionsProps) {
  const named = useNamesIn(room, users);
  const labels = useMemo(() => mentionLabels(users, named), [users, named]);
  return <LabelsContext.Provider value={labels}>{children}</LabelsContext.Provider>;
}

/** A text whose mentions are highlighted. The title of a mention is the user's current name. */
export function MentionedText({ text }: { text: string }) {
  const labels = useContext(LabelsContext);
  const { user } = useChatUi();
  if (labels.length === 0) return text;
  return splitMentions(text, labels).map(({ text: part, mention }, index) =>
    mention === undefined ? (
      part
    ) : (
      <span
        // biome-ignore lint/suspicious/noArrayIndexKey: the parts of one text never change their order
        key={index}
        className="tidings-mention"
        data-me={mention.user === user || undefined}
        title={mention.user === user ? `${mention.name} (you)` : mention.name}
      >
        {part}
      </span>
    ),
  );
}
