import { useTyping } from "@tidings/react";
import { displayName, typingText } from "../logic/names.ts";

/** The line with the typing users. Its space is always reserved, so that nothing moves when the text appears. */
export function TypingLine({ room }: { room: string }) {
  const { typing } = useTyping(room);
  const line = typingText(typing.map((user) => displayName(user.id, user.name)));
  return (
    <div className="typing-line line">
      {line && (
        <>
          <span className="typing-dots" aria-hidden="true">
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
