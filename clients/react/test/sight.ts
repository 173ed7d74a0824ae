/** A stand-in for the IntersectionObserver that jsdom does not have: the test says what comes into sight. */
export class Sight {
  private static observers = new Set<Sight>();
  private readonly targets = new Set<Element>();

  constructor(private readonly tell: IntersectionObserverCallback) {
    Sight.observers.add(this);
  }

  /** Takes the place of the page's own; answers what puts that back. */
  static install(): () => void {
    const before = Reflect.get(globalThis, "IntersectionObserver");
    Reflect.set(globalThis, "IntersectionObserver", Sight);
    Sight.observers.clear();
    return () => Reflect.set(globalThis, "IntersectionObserver", before);
  }

  /** How many elements are observed. */
  static get observed(): number {
    return [...Sight.observers].reduce((sum, { targets }) => sum + targets.size, 0);
  }

  /** These are in sight by so much of themselves (0 to 1), in one go. */
  static show(
    elements: readonly Element[],
    ratio = 1,
    shape: { height: number; screen: number } = TALL,
  ): void {
    for (const observer of Sight.observers) {
      const mine = elements.filter((element) => observer.targets.has(element));
      if (mine.length > 0)
        observer.tell(
          mine.map((target) => entry(target, ratio, shape)),
          observer as never,
        );
    }
  }

  observe(element: Element): void {
    this.targets.add(element);
  }

  unobserve(element: Element): void {
    this.targets.delete(element);
  }

  disconnect(): void {
    this.targets.clear();
  }
}

const TALL = { height: 40, screen: 800 };

function entry(target: Element, ratio: number, { height, screen }: typeof TALL): IntersectionObserverEntry {
  const rect = (size: number) => ({ height: size }) as DOMRectReadOnly;
  return {
    target,
    isIntersecting: ratio > 0,
    intersectionRatio: ratio,
    intersectionRect: rect(height * ratio),
    boundingClientRect: rect(height),
    rootBounds: rect(screen),
    time: 0,
  };
}

/** Makes the page visible or hidden, and tells it so. */
export function page(state: "visible" | "hidden"): void {
  Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}
