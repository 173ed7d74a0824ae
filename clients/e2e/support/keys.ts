/** Functions to use the page with the keyboard only. */
import { expect } from "vitest";
import type { Person } from "./person.js";

/** The element with the focus. */
interface FocusedElement {
  readonly name: string;
  readonly role: string;
  /** Whether the focus is visible. */
  readonly visible: boolean;
}

/** The role and name of the element with the focus, and whether the focus is visible. */
export function focusedElement(person: Person): Promise<FocusedElement> {
  return person.page.evaluate(() => {
    const element = document.activeElement as HTMLElement;
    const labelId = element.getAttribute("aria-labelledby");
    const label = "labels" in element ? (element as HTMLInputElement).labels?.[0]?.textContent : undefined;
    const name =
      element.getAttribute("aria-label") ??
      (labelId ? document.getElementById(labelId)?.textContent : undefined) ??
      label ??
      element.textContent;
    const hasOutline = (target: Element | null): boolean => {
      if (target === null) return false;
      const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(target);
      return (outlineStyle !== "none" && Number.parseFloat(outlineWidth) > 0) || boxShadow !== "none";
    };
    // A text field may show the focus on its container, and a menu item shows it with its background.
    const frame = element.matches("textarea, input") ? element.parentElement : null;
    const showsFocusByBackground = element.matches("[role^=menuitem], .tidings-emoji-choice");
    const transparent = "rgba(0, 0, 0, 0)";
    return {
      name: (name ?? "").trim().replace(/\s+/g, " "),
      role: element.getAttribute("role") ?? element.tagName.toLowerCase(),
      visible:
        hasOutline(element) ||
        hasOutline(frame) ||
        (showsFocusByBackground && getComputedStyle(element).backgroundColor !== transparent),
    };
  });
}

/** Presses a key until an element with this name has the focus. The focus must be visible on each element. */
export async function pressUntilFocused(
  person: Person,
  key: string,
  target: RegExp,
  maxSteps = 40,
): Promise<FocusedElement> {
  const visited: string[] = [];
  for (let step = 0; step < maxSteps; step += 1) {
    await person.page.keyboard.press(key);
    const focused = await focusedElement(person);
    expect(focused.visible, `the focus on ${focused.role} "${focused.name}" is visible`).toBe(true);
    if (target.test(focused.name)) return focused;
    visited.push(`${focused.role} "${focused.name}"`);
  }
  throw new Error(`${key} does not reach ${target}: ${visited.join(", ")}`);
}
