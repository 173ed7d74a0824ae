/** Distance to the edges of the window and to what a box belongs to, in px. */
const MARGIN = 8;

/** A box in the window, as `getBoundingClientRect` gives it. */
export interface Box {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

/**
 * Where a floating box goes: below what it belongs to or above it, where there is room, and never out of the window.
 * `align`: which of its sides is in line.
 */
export function placeBox(
  anchor: Box,
  box: { width: number; height: number },
  view: { width: number; height: number },
  align: "start" | "end",
): { left: number; top: number } {
  const wanted = align === "start" ? anchor.left : anchor.right - box.width;
  const left = Math.max(MARGIN, Math.min(wanted, view.width - box.width - MARGIN));
  const below = anchor.bottom + MARGIN / 2;
  const above = anchor.top - MARGIN / 2 - box.height;
  const fitsBelow = below + box.height + MARGIN <= view.height;
  const top = fitsBelow || above < MARGIN ? Math.min(below, view.height - box.height - MARGIN) : above;
  return { left, top: Math.max(MARGIN, top) };
}
