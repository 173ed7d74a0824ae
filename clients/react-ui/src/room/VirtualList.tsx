import {
  type KeyboardEvent,
  type ReactNode,
  type Ref,
  useImperativeHandle,
  useLayoutEffect,
  useReducer,
  useRef,
  useState,
} from "react";
import { flushSync } from "react-dom";
import { ListDom, type ListStart } from "./listDom.js";

/** The commands of a list. */
export interface ListHandle {
  readonly scrollToEnd: () => void;
  /** Scrolls a row to the middle. Does nothing when the row does not exist. */
  readonly scrollToRow: (key: string) => void;
  /** The message at the top of the view, and the px above it; undefined at the end of the list. */
  readonly topRow: () => ListStart | undefined;
  readonly element: () => HTMLElement | null;
}

interface VirtualListProps {
  readonly keys: readonly string[];
  /** Renders the row at an index as one element with `data-key` and without margins. */
  readonly children: (index: number) => ReactNode;
  /** The row at which the list first appears; by default the end of the list. */
  readonly start?: ListStart | undefined;
  /** Whether rows are missing at the end. The list then does not follow its end when rows are added. */
  readonly openEnd: boolean;
  readonly canAnchor: (key: string, index: number) => boolean;
  /** Called, possibly often, when little more than one screen of rows is left above the view. */
  readonly onNearStart: () => void;
  /** Called, possibly often, when little more than one screen of rows is left below the view. */
  readonly onNearEnd: () => void;
  readonly onAtEnd: (atEnd: boolean) => void;
  readonly handle: Ref<ListHandle>;
  readonly label: string;
  readonly busy: boolean;
  readonly onKeyDown?: (event: KeyboardEvent<HTMLElement>) => void;
}

/**
 * A list that renders only the rows near the view. It measures the heights of these rows before the browser paints. A
 * list with other content must have another React key.
 */
export function VirtualList(props: VirtualListProps) {
  const { keys, children, start, openEnd, canAnchor, handle, label, busy, onKeyDown } = props;
  const { onNearStart, onNearEnd, onAtEnd } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const spacer = useRef<HTMLDivElement>(null);
  const holder = useRef<HTMLDivElement>(null);
  const [, render] = useReducer((count: number) => count + 1, 0);
  const [list] = useState(() => new ListDom(keys, canAnchor, start));
  list.position.openEnd = openEnd;
  list.setKeys(keys);
  const range = list.position.range();

  useLayoutEffect(() => {
    if (!scroller.current || !spacer.current || !holder.current) return;
    const elements = { scroller: scroller.current, spacer: spacer.current, holder: holder.current };
    return list.attach(elements, () => flushSync(render));
  }, [list]);

  useLayoutEffect(() => {
    list.callbacks = { onNearStart, onNearEnd, onAtEnd };
    list.renderedRange = range;
    if (list.layout()) render();
    list.notify();
  });

  useImperativeHandle(handle, () => ({
    scrollToEnd: () => {
      list.scrollTo(undefined);
      render();
    },
    scrollToRow: (key) => {
      list.scrollTo(key);
      render();
    },
    topRow: () => {
      const { topRow } = list.position;
      return topRow && { key: topRow.key, above: -topRow.offset };
    },
    element: () => scroller.current,
  }));

  const rows: ReactNode[] = [];
  for (let index = range.start; index < range.end; index += 1) rows.push(children(index));
  return (
    <div
      ref={scroller}
      className="tidings-message-scroller tidings-column"
      data-testid="message-list"
      role="feed"
      aria-label={label}
      aria-busy={busy}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: a scrollable area must be reachable by keyboard
      tabIndex={0}
      onKeyDown={onKeyDown}
    >
      <div ref={spacer} className="tidings-message-spacer">
        <div ref={holder} className="tidings-message-holder">
          {rows}
        </div>
      </div>
    </div>
  );
}
