import type { CSSProperties } from "react";
import { colourOf } from "../logic/names.ts";

/** The colours of a user or a room from the style sheet: `--avatar` behind initials, and `--hue` for a name. */
export function coloursOf(id: string): CSSProperties {
  const number = colourOf(id);
  return { "--avatar": `var(--avatar-${number})`, "--hue": `var(--hue-${number})` } as CSSProperties;
}
