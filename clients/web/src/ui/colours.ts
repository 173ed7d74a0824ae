import type { CSSProperties } from "react";
import { colourNumberOf } from "../logic/names.ts";

/** Returns the colours of a user or a room as CSS variables: `--avatar` behind initials, and `--hue` for a name. */
export function colourStyle(id: string): CSSProperties {
  const number = colourNumberOf(id);
  return { "--avatar": `var(--avatar-${number})`, "--hue": `var(--hue-${number})` } as CSSProperties;
}
