/** Going through the page by keyboard alone. */
import { expect } from "vitest";
import type { Person } from "./person.js";

/** What has the focus. */
interface Focused {
  readonly name: string;
  readonly role: string;
  /** Whether one sees that it has it. */
  readonly visible: boolean;
}

/** What has the focus, by role and name, and whether that can be seen. */
export function focused(person: Person): Promise<Focused> {
  return person.page.evaluate(() => {
    const element = document.activeElement as HTMLElement;
    const labelled = element.getAttribute("aria-labelledby");
    const label = "labels" in element ? (element as HTMLInputElement).labels?.[0]?.textContent : undefined;
    const name =
      element.getAttribute("aria-label") ??
      (labelled ? document.getElementById(labelled)?.textContent : undefined) ??
      label ??
      element.textContent;
    const drawn = (one: Element | null): boolean => {
      if (one === null) return false;
      const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(one);
      return (outlineStyle !== "none" && Number.parseFloat(outlineWidth) > 0) || boxShadow !== "none";
    };
    // What one types into may be framed by what it stands in; a line of a menu is told by its ground.
    const framed = element.matches("textarea, input") ? element.parentElement : null;
    const ground = element.matches("[role^=menuitem], .emoji-choice");
    const plain = "rgba(0, 0, 0, 0)";
    return {
      name: (name ?? "").trim().replace(/\s+/g, " "),
      role: element.getAttribute("role") ?? element.tagName.toLowerCase(),
      visible:
        drawn(element) || drawn(framed) || (ground && getComputedStyle(element).backgroundColor !== plain),
    };
  });
}

/** Presses a key until what has the focus bears this name. All that one comes by shows that it has the focus. */
export async function walk(person: Person, key: string, to: RegExp, most = 40): Promise<Focused> {
  const passed: string[] = [];
  for (let step = 0; step < most; step += 1) {
    await person.page.keyboard.press(key);
    const at = await focused(person);
    expect(at.visible, `the focus on ${at.role} "${at.name}" can be seen`).toBe(true);
    if (to.test(at.name)) return at;
    passed.push(`${at.role} "${at.name}"`);
  }
  throw new Error(`${key} does not lead to ${to}: ${passed.join(", ")}`);
}
