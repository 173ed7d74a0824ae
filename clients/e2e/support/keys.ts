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
    const labelled = element.getAttribute("aria-labelledby");
    const label = "labels" in element ? (element as HTMLInputElement).labels?.[0]?.textContent : undefined;
    const name =
      element.getAttribute("aria-label") ??
      (labelled ? document.getElementById(labelled)?.textContent : undefined) ??
      label ??
      element.textContent;
    const hasOutline = (one: Element | null): boolean => {
      if (one === null) return false;
      const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(one);
      return (outlineStyle !== "none" && Number.parseFloat(outlineWidth) > 0) || boxShadow !== "none";
    };
    // A text field may show the focus on its container, and a menu item shows it with its background.
    const frame = element.matches("textarea, input") ? element.parentElement : null;
    const hasBackground = element.matches("[role^=menuitem], .emoji-choice");
    const transparent = "rgba(0, 0, 0, 0)";
    return {
      name: (name ?? "").trim().replace(/\s+/g, " "),
      role: element.getAttribute("role") ?? element.tagName.toLowerCase(),
      visible:
        hasOutline(element) ||
        hasOutline(frame) ||
        (hasBackground && getComputedStyle(element).backgroundColor !== transparent),
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
  const passed: string[] = [];
  for (let step = 0; step < maxSteps; step += 1) {
    await person.page.keyboard.press(key);
    const at = await focusedElement(person);
    expect(at.visible, `the focus on ${at.role} "${at.name}" is visible`).toBe(true);
    if (target.test(at.name)) return at;
    passed.push(`${at.role} "${at.name}"`);
  }
  throw new Error(`${key} does not reach ${target}: ${passed.join(", ")}`);
}
