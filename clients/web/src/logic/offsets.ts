/** A place in a list that stays put: a row, and how far its top is above the top of what is in sight, in px. */
export interface Anchor {
  readonly key: string;
  readonly offset: number;
}

/** The rows of a list with their heights, known or guessed, and where each begins. Made anew when rows change. */
export class Offsets {
  private readonly tops: Float64Array;
  private readonly index = new Map<string, number>();

  constructor(
    readonly keys: readonly string[],
    private readonly heights: ReadonlyMap<string, number>,
    private readonly guess: number,
  ) {
    this.tops = new Float64Array(keys.length + 1);
    this.measure();
    for (const [at, key] of keys.entries()) this.index.set(key, at);
  }

  /** Adds the heights up again, after some have changed. */
  measure(): void {
    let sum = 0;
    for (const [at, key] of this.keys.entries()) {
      this.tops[at] = sum;
      sum += this.heights.get(key) ?? this.guess;
    }
    this.tops[this.keys.length] = sum;
  }

  /** Height of all rows, in px. */
  get total(): number {
    return this.tops[this.keys.length] ?? 0;
  }

  /** Where the row at an index begins, in px; the end of the list for an index behind it. */
  top(index: number): number {
    return this.tops[Math.max(0, Math.min(index, this.keys.length))] ?? 0;
  }

  /** Height of the row at an index, in px. */
  height(index: number): number {
    return this.top(index + 1) - this.top(index);
  }

  /** The index of a key; undefined when it is not in the list. */
  indexOf(key: string): number | undefined {
    return this.index.get(key);
  }

  /** The index of the row that covers a position; the nearest row for a position outside. */
  at(position: number): number {
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
   * The anchor of a scroll position: of the rows in sight the first one that `holds` and whose height is known, for
   * only such a one stands where it is thought to stand; else one that holds; else the first.
   */
  anchorAt(
    scrollTop: number,
    height: number,
    holds: (key: string, index: number) => boolean,
  ): Anchor | undefined {
    const first = this.at(scrollTop);
    let best: number | undefined;
    for (let index = first; index < this.keys.length && this.top(index) < scrollTop + height; index += 1) {
      const key = this.keys[index];
      if (key === undefined || !holds(key, index)) continue;
      best ??= index;
      if (!this.heights.has(key)) continue;
      best = index;
      break;
    }
    const key = this.keys[best ?? first];
    return key === undefined ? undefined : { key, offset: scrollTop - this.top(best ?? first) };
  }

  /** The scroll position that keeps an anchor in place; undefined when its row is gone. */
  scrollTopOf(anchor: Anchor): number | undefined {
    const index = this.index.get(anchor.key);
    return index === undefined ? undefined : this.top(index) + anchor.offset;
  }

  /** The indices to be in the page: from `start` up to but without `end`. */
  range(scrollTop: number, height: number, margin: number): { start: number; end: number } {
    if (this.keys.length === 0) return { start: 0, end: 0 };
    return { start: this.at(scrollTop - margin), end: this.at(scrollTop + height + margin) + 1 };
  }
}
