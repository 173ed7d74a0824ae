import type { KeyboardEvent } from "react";

/**
 * Moves the focus among the elements that match a selector. `target` gets the index of the focused element (-1 for
 * none) and returns the index to move to. If `target` returns undefined, the key has its usual effect.
 */
export function moveFocus(
  event: KeyboardEvent<HTMLElement>,
  selector: string,
  target: (at: number, all: readonly HTMLElement[]) => number | undefined,
): void {
  const all = [...event.currentTarget.querySelectorAll<HTMLElement>(selector)];
  const to = target(all.indexOf(document.activeElement as HTMLElement), all);
  if (to === undefined) return;
  event.preventDefault();
  all[to]?.focus();
}
