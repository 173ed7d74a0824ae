/** The smallest distance to the edges of the window, in px. The distance to the anchor is half of `MARGIN_PX`. */
const MARGIN_PX = 8;

/**
 * Returns the position of a floating box: below its anchor, or above when only there is enough space, and always inside
 * the window. `align` is the side on which box and anchor are aligned.
 */
export function positionBox(
  anchor: Pick<DOMRect, "left" | "top" | "right" | "bottom">,
  box: { width: number; height: number },
  view: { width: number; height: number },
  align: "start" | "end",
): { left: number; top: number } {
  const alignedLeft = align === "start" ? anchor.left : anchor.right - box.width;
  const left = Math.max(MARGIN_PX, Math.min(alignedLeft, view.width - box.width - MARGIN_PX));
  const below = anchor.bottom + MARGIN_PX / 2;
  const above = anchor.top - MARGIN_PX / 2 - box.height;
  const fitsBelow = below + box.height + MARGIN_PX <= view.height;
  const top = fitsBelow || above < MARGIN_PX ? Math.min(below, view.height - box.height - MARGIN_PX) : above;
  return { left, top: Math.max(MARGIN_PX, top) };
}
