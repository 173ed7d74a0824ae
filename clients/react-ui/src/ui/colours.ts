import type { CSSProperties } from "react";
import { colourNumberOf } from "../logic/names.js";

/** The colours of a user or a room as CSS variables: `--tidings-avatar` behind initials, `--tidings-hue` for a name. */
export function colourStyle(id: string): CSSProperties {
  const number = colourNumberOf(id);
  return {
    "--tidings-avatar": `var(--tidings-avatar-${number})`,
    "--tidings-hue": `var(--tidings-hue-${number})`,
  } as CSSProperties;
}
