import { type KeyboardEvent, useId, useState } from "react";

/** A list of options under or above a text field, which keeps the focus. */
export interface OptionsState<T> {
  /** The attributes of the field. */
  readonly fieldProps: Record<string, string | undefined>;
  /** Handles a key of the field. Returns whether the list has used it. */
  readonly onKeyDown: (event: KeyboardEvent) => boolean;
  readonly listId: string;
  readonly idOf: (index: number) => string;
  /** The index of the option that Enter chooses. */
  readonly at: number;
  readonly options: readonly T[];
  readonly choose: (option: T) => void;
}

interface OptionsHandlers<T> {
  /** The options; none closes the list. */
  readonly options: readonly T[];
  readonly onChoose: (option: T) => void;
  /** Closes the list until other options are offered. */
  readonly onClose: () => void;
}

/**
 * The keys and the ARIA attributes of a field with a list of options: arrows move, Enter and Tab choose, Escape closes.
 * The field keeps the role of a text field, so its attributes are those that this role permits.
 */
export function useOptions<T>({ options, onChoose, onClose }: OptionsHandlers<T>): OptionsState<T> {
  const listId = useId();
  const [place, setPlace] = useState<{ options: string; index: number }>();
  // Other options begin at the first one again.
  const key = JSON.stringify(options);
  const at = place?.options === key ? place.index : 0;
  const idOf = (index: number) => `${listId}-${index}`;
  const isOpen = options.length > 0;
  const onKeyDown = (event: KeyboardEvent): boolean => {
    if (!isOpen || event.nativeEvent.isComposing || event.shiftKey || event.altKey) return false;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const option = options[at];
    if (step !== undefined) setPlace({ options: key, index: (at + step + options.length) % options.length });
    else if ((event.key === "Enter" || event.key === "Tab") && option !== undefined) onChoose(option);
    else if (event.key === "Escape") onClose();
    else return false;
    event.preventDefault();
    event.stopPropagation();
    return true;
  };
  return {
    fieldProps: {
      "aria-autocomplete": "list",
      "aria-haspopup": "listbox",
      "aria-controls": isOpen ? listId : undefined,
      "aria-activedescendant": isOpen ? idOf(at) : undefined,
    },
    onKeyDown,
    listId,
    idOf,
    at,
    options,
    choose: onChoose,
  };
}
