import { type Anchor, RowOffsets } from "../logic/offsets.js";

/** Within this distance of its end, in px, the list counts as scrolled to the end. */
const END_TOLERANCE_PX = 12;
/**
 * How far above and below the view rows are rendered, in px. More rows are rendered when less than `MIN_MARGIN_PX` is
 * left.
 */
const RENDER_MARGIN_PX = 900;
const MIN_MARGIN_PX = 250;
/** The assumed height of a row that was never rendered, in px. */
const ESTIMATED_HEIGHT_PX = 56;

/** The rendered rows: from `start` to `end`, without `end`. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

/**
 * The scroll position of a list. It is anchored to a row, not to a number of pixels, so the visible rows do not move
 * when rows above are added, removed or change their height. At the end of the list it is anchored to the end.
 */
export class ScrollPosition {
  offsets: RowOffsets;
  /** The height of the view, in px. */
  height = 0;
  private readonly heights = new Map<string, number>();
  private anchor: Anchor | "end" = "end";
  /** Whether rows are missing at the end. The list then does not follow its end when rows are added. */
  openEnd = false;

  /** @param canAnchor whether a row may be the anchor: it must stay, and keep its height when other rows are added */
  constructor(
    keys: readonly string[],
    private readonly canAnchor: (key: string, index: number) => boolean,
  ) {
    this.offsets = new RowOffsets(keys, this.heights, ESTIMATED_HEIGHT_PX);
  }

  get atEnd(): boolean {
    return this.anchor === "end";
  }

  /** The scroll offset that the element must have, in px. */
  get scrollTop(): number {
    const max = Math.max(0, this.offsets.total - this.height);
    if (this.anchor === "end") return max;
    return Math.max(0, Math.min(this.offsets.scrollTopOf(this.anchor) ?? max, max));
  }

  /** Sets the rows. When the anchor row is gone, the next row that still exists becomes the anchor. */
  setKeys(keys: readonly string[]): void {
    if (keys === this.offsets.keys) return;
    const next = new RowOffsets(keys, this.heights, ESTIMATED_HEIGHT_PX);
    if (this.anchor !== "end" && next.indexOf(this.anchor.key) === undefined) {
      const from = this.offsets.indexOf(this.anchor.key) ?? 0;
      const scrollTop = this.scrollTop;
      const stays = (key: string) => next.indexOf(key) !== undefined;
      const key =
        this.offsets.keys.slice(from).find(stays) ?? this.offsets.keys.slice(0, from).findLast(stays);
      const index = key === undefined ? undefined : this.offsets.indexOf(key);
      this.anchor =
        key === undefined || index === undefined
          ? "end"
          : { key, offset: scrollTop - this.offsets.top(index) };
    }
    this.offsets = next;
  }

  /** Sets the measured height of a row, in px. Returns whether it has changed. */
  setHeight(key: string, height: number): boolean {
    if (this.heights.get(key) === height) return false;
    this.heights.set(key, height);
    return true;
  }

  /** Discards the measured heights, because the width of the list has changed. */
  discardHeights(): void {
    this.heights.clear();
    this.offsets.recompute();
  }

  /** Updates the anchor after a scroll. */
  scrolledTo(scrollTop: number): void {
    if (!this.openEnd && this.isEnd(scrollTop)) this.anchor = "end";
    else this.anchor = this.offsets.anchorAt(scrollTop, this.height, this.canAnchor) ?? "end";
  }

  /** Anchors to the end when the list is scrolled to its end. Call it once all visible rows are measured. */
  settleAtEnd(): void {
    if (!this.openEnd && this.isEnd(this.scrollTop)) this.anchor = "end";
  }

  /** The row at the top of the view, and how far it is scrolled; undefined at the end of the list. */
  get topRow(): Anchor | undefined {
    return this.anchor === "end"
      ? undefined
      : this.offsets.anchorAt(this.scrollTop, this.height, this.canAnchor);
  }

  private isEnd(scrollTop: number): boolean {
    return scrollTop >= this.offsets.total - this.height - END_TOLERANCE_PX;
  }

  scrollToEnd(): void {
    this.anchor = "end";
  }

  /** Scrolls a row to the middle of the view. */
  scrollToRow(key: string): void {
    const index = this.offsets.indexOf(key);
    if (index === undefined) return;
    const free = Math.max(0, this.height - this.offsets.height(index));
    this.anchor = { key, offset: -Math.round(free / 2) };
  }

  /** Scrolls a row to the top of the view, with `above` px of free space above it. */
  startAt(key: string, above: number): void {
    if (this.offsets.indexOf(key) !== undefined) this.anchor = { key, offset: -above };
  }

  /** Returns the rows to render at the present scroll position. */
  range(): Range {
    return this.offsets.range(this.scrollTop, this.height || 900, RENDER_MARGIN_PX);
  }

  /** Whether the rendered rows reach at least `MIN_MARGIN_PX` beyond the view. */
  covers(range: Range): boolean {
    const needed = this.offsets.range(this.scrollTop, this.height || 900, MIN_MARGIN_PX);
    return range.start <= needed.start && range.end >= Math.min(needed.end, this.offsets.keys.length);
  }
}
