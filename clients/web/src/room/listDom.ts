import { type Range, ScrollPlace } from "./scrollPlace.ts";

/** What a list tells: that little is left above, and whether it stands at its end. */
export interface ListCallbacks {
  readonly onNearStart: () => void;
  readonly onAtEnd: (atEnd: boolean) => void;
}

/** The three elements of a list: what scrolls, what is as high as all rows, what holds the rows in the page. */
export interface ListElements {
  readonly scroller: HTMLElement;
  readonly spacer: HTMLElement;
  readonly holder: HTMLElement;
}

/** Beyond a screen this many px above are still near. */
const NEAR_START = 400;

/** Brings a place and the page together: measures rows, moves them, hears of scrolls. Knows nothing of React. */
export class ListDom {
  readonly place: ScrollPlace;
  callbacks: ListCallbacks | undefined;
  /** The rows that are in the page. */
  drawn: Range = { start: 0, end: 0 };
  private elements: ListElements | undefined;
  private applied = 0;
  private toldAtEnd: boolean | undefined;

  /** @param startKey the row that is on top at first; the end unless given. */
  constructor(
    keys: readonly string[],
    anchorable: (key: string, index: number) => boolean,
    startKey: string | undefined,
  ) {
    this.place = new ScrollPlace(keys, anchorable);
    if (startKey !== undefined) this.place.startAt(startKey, 96);
  }

  /** Takes other rows, after a scroll that the browser has not told of yet. */
  setKeys(keys: readonly string[]): void {
    if (keys === this.place.offsets.keys) return;
    this.catchUp();
    this.place.setKeys(keys);
  }

  /** Measures what is in the page and puts everything where it belongs; whether other rows are needed. */
  settle(): boolean {
    if (!this.elements) return false;
    const { scroller, spacer, holder } = this.elements;
    const { place } = this;
    this.catchUp();
    place.height = scroller.clientHeight;
    let changed = false;
    for (const row of holder.children) {
      const key = (row as HTMLElement).dataset.key;
      if (key !== undefined) changed = place.setHeight(key, row.getBoundingClientRect().height) || changed;
    }
    if (changed) place.offsets.measure();
    spacer.style.height = `${place.offsets.total}px`;
    holder.style.transform = `translateY(${place.offsets.top(this.drawn.start)}px)`;
    const wanted = place.scrollTop;
    if (Math.abs(scroller.scrollTop - wanted) > 0.5) scroller.scrollTop = wanted;
    this.applied = scroller.scrollTop;
    const covered = place.covers(this.drawn);
    if (covered && !changed) place.rest();
    return !covered;
  }

  /** Goes to a row, or without one to the end; a scroll before that counts no more. To be followed by a drawing. */
  goTo(key: string | undefined): void {
    if (this.elements) this.applied = this.elements.scroller.scrollTop;
    if (key === undefined) this.place.toEnd();
    else this.place.reveal(key);
  }

  /** Tells what is to be told. */
  tell(): void {
    const { place } = this;
    if (this.toldAtEnd !== place.atEnd) {
      this.toldAtEnd = place.atEnd;
      this.callbacks?.onAtEnd(place.atEnd);
    }
    if (place.scrollTop < place.height + NEAR_START) this.callbacks?.onNearStart();
  }

  /** Belongs to these elements from now on; the answer ends it. `draw` has other rows drawn at once. */
  attach(elements: ListElements, draw: () => void): () => void {
    this.elements = elements;
    const { scroller, holder } = elements;
    let width = scroller.clientWidth;
    const onScroll = () => {
      this.catchUp();
      if (!this.place.covers(this.drawn)) draw();
      this.tell();
    };
    // Comes between layout and paint: nothing is seen at a wrong place.
    const observer = new ResizeObserver(() => {
      if (scroller.clientWidth !== width) {
        this.catchUp();
        width = scroller.clientWidth;
        this.place.forgetHeights();
      }
      if (this.settle()) draw();
      this.tell();
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

  /** Takes a scroll that the browser has not told of yet, before anything else moves. */
  private catchUp(): void {
    if (!this.elements) return;
    const { scroller } = this.elements;
    if (Math.abs(scroller.scrollTop - this.applied) < 1) return;
    this.place.height = scroller.clientHeight;
    this.place.scrolledTo(scroller.scrollTop);
    this.applied = scroller.scrollTop;
  }
}
