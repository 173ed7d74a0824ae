import type { CSSProperties } from "react";
import { colourNumberOf } from "../logic/names.ts";

/** The colours of a user or a room from the style sheet: `--avatar` behind initials, and `--hue` for a name. */
export function colourStyle(id: string): CSSProperties {
  const number = colourNumberOf(id);
  return { "--avatar": `var(--avatar-${number})`, "--hue": `var(--hue-${number})` } as CSSProperties;
}
