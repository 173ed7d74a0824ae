import { useEffect, useRef } from "react";
import type { Candidate } from "../logic/mentions.js";
import { plural } from "../logic/names.js";
import { ChatAvatar } from "./ChatAvatar.js";
import type { OptionsState } from "./useOptions.js";

interface PersonOptionsProps {
  readonly label: string;
  readonly state: OptionsState<Candidate>;
  /** Whether the list is above its field, not below it. */
  readonly above?: boolean;
}

/** The list of people that a field offers. A click or a tap chooses one, and the field keeps the focus. */
export function PersonOptions({ label, state, above = false }: PersonOptionsProps) {
  const { options, listId, idOf, at, choose } = state;
  const list = useRef<HTMLDivElement>(null);
  useEffect(() => {
    list.current?.children[at]?.scrollIntoView?.({ block: "nearest" });
  }, [at]);
  return (
    <>
      <span className="tidings-visually-hidden" role="status">
        {options.length > 0 ? `${plural(options.length, "suggestion")}. Use the arrow keys to choose.` : ""}
      </span>
      {options.length > 0 && (
        <div
          ref={list}
          id={listId}
          className="tidings-person-options"
          data-above={above || undefined}
          role="listbox"
          aria-label={label}
        >
          {options.map((person, index) => (
            // biome-ignore lint/a11y/useKeyWithClickEvents: the field handles the keys
            // biome-ignore lint/a11y/useFocusableInteractive: the focus stays in the field
            <div
              key={person.user}
              id={idOf(index)}
              className="tidings-person-option tidings-hoverable tidings-line"
              role="option"
              aria-selected={index === at}
              // Keeps the focus in the field, and so the keyboard of a phone open.
              onPointerDown={(event) => event.preventDefault()}
              onMouseDown={(event) => event.preventDefault()}
              onClick={() => choose(person)}
            >
              <ChatAvatar id={person.user} name={person.name} size="small" />
              <span className="tidings-ellipsis" dir="auto">
                {person.name}
              </span>
              <small className="tidings-ellipsis">{person.user}</small>
            </div>
          ))}
        </div>
      )}
    </>
  );
}
