import { useTyping } from "@tidings/react";
import type { ReactNode } from "react";
import { displayName, typingText } from "../logic/names.js";
import { useRoomContext } from "./roomContext.js";

/** The line with the typing users. Its space is always reserved, so that nothing moves when the text appears. */
export function TypingLine(): ReactNode {
  const { room } = useRoomContext();
  const { typing } = useTyping(room);
  const line = typingText(typing.map((user) => displayName(user.id, user.name)));
  return (
    <div className="tidings-typing-line tidings-line">
      {line && (
        <>
          <span className="tidings-typing-dots" aria-hidden="true">
            <i />
            <i />
            <i />
          </span>
          <span>{line}</span>
        </>
      )}
    </div>
  );
}
