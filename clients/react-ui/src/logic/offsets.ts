/** A row whose position on the screen is kept. `offset` is the px from the top of the row to the top of the view. */
export interface Anchor {
  readonly key: string;
  readonly offset: number;
}

/** The rows of a list with their measured or estimated heights and offsets. Changed rows need a new `RowOffsets`. */
export class RowOffsets {
  private readonly tops: Float64Array;
  private readonly index = new Map<string, number>();

  constructor(
    readonly keys: readonly string[],
    private readonly heights: ReadonlyMap<string, number>,
    private readonly estimate: number,
  ) {
    this.tops = new Float64Array(keys.length + 1);
    this.recompute();
    for (const [index, key] of keys.entries()) this.index.set(key, index);
  }

  /** Adds up the heights again. Call it after heights have changed. */
  recompute(): void {
    let sum = 0;
    for (const [index, key] of this.keys.entries()) {
      this.tops[index] = sum;
      sum += this.heights.get(key) ?? this.estimate;
    }
    this.tops[this.keys.length] = sum;
  }

  /** The height of all rows, in px. */
  get total(): number {
    return this.tops[this.keys.length] ?? 0;
  }

  /** The top of the row at an index, in px. An index after the last row gives the end of the list. */
  top(index: number): number {
    return this.tops[Math.max(0, Math.min(index, this.keys.length))] ?? 0;
  }

  /** The height of the row at an index, in px. */
  height(index: number): number {
    return this.top(index + 1) - this.top(index);
  }

  /** The index of a key, or undefined when the list does not contain it. */
  indexOf(key: string): number | undefined {
    return this.index.get(key);
  }

  /** The index of the row at a position in px, or of the nearest row for a position outside the list. */
  indexAt(position: number): number {
    let low = 0;
    let high = this.keys.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.top(middle) <= position) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /**
   * Returns the anchor for a scroll position: the first visible row that can be an anchor and has a measured height,
   * because other positions are only estimates. Otherwise returns the first visible row that can be an anchor, or the
   * first visible row.
   */
  anchorAt(
    scrollTop: number,
    height: number,
    canAnchor: (key: string, index: number) => boolean,
  ): Anchor | undefined {
    const first = this.indexAt(scrollTop);
    let best: number | undefined;
    for (let index = first; index < this.keys.length && this.top(index) < scrollTop + height; index += 1) {
      const key = this.keys[index];
      if (key === undefined || !canAnchor(key, index)) continue;
      best ??= index;
      if (!this.heights.has(key)) continue;
      best = index;
      break;
    }
    const key = this.keys[best ?? first];
    return key === undefined ? undefined : { key, offset: scrollTop - this.top(best ?? first) };
  }

  /** The scroll position that keeps an anchor in its place, or undefined when the anchor's row is missing. */
  scrollTopOf(anchor: Anchor): number | undefined {
    const index = this.index.get(anchor.key);
    return index === undefined ? undefined : this.top(index) + anchor.offset;
  }

  /** The rows within `margin` px of the view: the indices from `start` to `end`, without `end`. */
  range(scrollTop: number, height: number, margin: number): { start: number; end: number } {
    if (this.keys.length === 0) return { start: 0, end: 0 };
    return { start: this.indexAt(scrollTop - margin), end: this.indexAt(scrollTop + height + margin) + 1 };
  }
}
