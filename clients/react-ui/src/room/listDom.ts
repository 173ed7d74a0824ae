import { type Range, ScrollPosition } from "./scrollPosition.js";

/** The elements of a list: the scroller, the spacer with the height of all rows, the holder of the rendered rows. */
interface ListElements {
  readonly scroller: HTMLElement;
  readonly spacer: HTMLElement;
  readonly holder: HTMLElement;
}

/** The list is near one of its ends when less than one screen plus this many px is left on that side of the view. */
const NEAR_END_PX = 400;

/** The row that is near the top when the list first appears, and the px of free space above it. */
export interface ListStart {
  readonly key: string;
  readonly above: number;
}

/** Applies a scroll position to the page: measures and moves rows, and handles scroll events. */
export class ListDom {
  readonly position: ScrollPosition;
  /** Called when few rows are left above or below the view, and when the list reaches or leaves its end. */
  callbacks:
    | { onNearStart: () => void; onNearEnd: () => void; onAtEnd: (atEnd: boolean) => void }
    | undefined;
  /** The rows that are rendered in the page. */
  renderedRange: Range = { start: 0, end: 0 };
  private elements: ListElements | undefined;
  private appliedScrollTop = 0;
  private userHasScrolled = false;
  private notifiedAtEnd: boolean | undefined;

  /** @param start by default the list starts at its end */
  constructor(
    keys: readonly string[],
    canAnchor: (key: string, index: number) => boolean,
    start: ListStart | undefined,
  ) {
    this.position = new ScrollPosition(keys, canAnchor);
    if (start !== undefined) this.position.startAt(start.key, start.above);
  }

  /** Sets the rows. First applies a scroll whose event has not arrived yet. */
  setKeys(keys: readonly string[]): void {
    if (keys === this.position.offsets.keys) return;
    this.applyPendingScroll();
    this.position.setKeys(keys);
  }

  /** Measures the rendered rows and positions everything. Returns whether other rows must be rendered. */
  layout(): boolean {
    if (!this.elements) return false;
    const { scroller, spacer, holder } = this.elements;
    const { position } = this;
    this.applyPendingScroll();
    position.height = scroller.clientHeight;
    let heightsChanged = false;
    for (const row of holder.children) {
      const key = (row as HTMLElement).dataset.key;
      if (key !== undefined)
        heightsChanged = position.setHeight(key, row.getBoundingClientRect().height) || heightsChanged;
    }
    if (heightsChanged) position.offsets.recompute();
    spacer.style.height = `${position.offsets.total}px`;
    holder.style.transform = `translateY(${position.offsets.top(this.renderedRange.start)}px)`;
    const wanted = position.scrollTop;
    if (Math.abs(scroller.scrollTop - wanted) > 0.5) scroller.scrollTop = wanted;
    this.appliedScrollTop = scroller.scrollTop;
    const isCovered = position.covers(this.renderedRange);
    if (isCovered && !heightsChanged) position.settleAtEnd();
    return !isCovered;
  }

  /**
   * Scrolls to the row `key`, or to the end when `key` is undefined. Discards a scroll whose event has not arrived
   * yet. The caller must render afterwards.
   */
  scrollTo(key: string | undefined): void {
    if (this.elements) this.appliedScrollTop = this.elements.scroller.scrollTop;
    if (key === undefined) this.position.scrollToEnd();
    else this.position.scrollToRow(key);
  }

  /** Calls the callbacks if the list is near its start or its end, or has reached or left its end. */
  notify(): void {
    const { position } = this;
    if (this.notifiedAtEnd !== position.atEnd) {
      this.notifiedAtEnd = position.atEnd;
      this.callbacks?.onAtEnd(position.atEnd);
    }
    const { scrollTop, height, offsets } = position;
    // Until the user scrolls, asks for more rows only when an end of the list is in the view.
    const margin = this.userHasScrolled ? height + NEAR_END_PX : 0;
    if (scrollTop <= margin) this.callbacks?.onNearStart();
    if (offsets.total - scrollTop - height <= margin) this.callbacks?.onNearEnd();
  }

  /** Attaches to the elements. Returns a function that detaches. `render` must render the rows synchronously. */
  attach(elements: ListElements, render: () => void): () => void {
    this.elements = elements;
    const { scroller, holder } = elements;
    let width = scroller.clientWidth;
    const onScroll = () => {
      this.applyPendingScroll();
      if (!this.position.covers(this.renderedRange)) render();
      this.notify();
    };
    // The observer runs between layout and paint, so rows never appear in a wrong place.
    const observer = new ResizeObserver(() => {
      if (scroller.clientWidth !== width) {
        this.applyPendingScroll();
        width = scroller.clientWidth;
        this.position.discardHeights();
      }
      if (this.layout()) render();
      this.notify();
    });
    scroller.addEventListener("scroll", onScroll, { passive: true });
    observer.observe(scroller);
    observer.observe(holder);
    return () => {
      this.elements = undefined;
      scroller.removeEventListener("scroll", onScroll);
      observer.disconnect();
    };
  }

  /** Applies a scroll whose event has not arrived yet. Call it before rows are changed or moved. */
  private applyPendingScroll(): void {
    if (!this.elements) return;
    const { scroller } = this.elements;
    if (Math.abs(scroller.scrollTop - this.appliedScrollTop) < 1) return;
    this.userHasScrolled = true;
    this.position.height = scroller.clientHeight;
    this.position.scrolledTo(scroller.scrollTop);
    this.appliedScrollTop = scroller.scrollTop;
  }
}
