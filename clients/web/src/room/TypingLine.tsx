import { useTyping } from "@tidings/react";
import { displayName, typingLine } from "../logic/names.ts";

/** Who types now. Its place is always there, so that nothing moves when somebody begins. */
export function TypingLine({ room }: { room: string }) {
  const { typing } = useTyping(room);
  const line = typingLine(typing.map((user) => displayName(user.id, user.name)));
  return (
    <div className="typing-line">
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
