import type { Message } from "@tidings/client";
import type { KeyboardEvent, RefObject } from "react";
import type { Row } from "../logic/rows.js";
import type { MessageActions } from "./actions.js";
import type { ListHandle } from "./VirtualList.js";

/**
 * Returns the handler for keys in the message list: arrows move between messages, End goes to the newest one, Enter
 * opens the menu, R replies, E edits, Delete deletes. In a message Tab moves through its links and buttons, and Escape
 * goes back to the message.
 */
export function useListKeys(
  rows: readonly Row[],
  list: RefObject<ListHandle | null>,
  actions: MessageActions,
  toNewest: () => void,
) {
  return (event: KeyboardEvent<HTMLElement>) => {
    const box = list.current?.element();
    const target = event.target as HTMLElement;
    if (!box || event.ctrlKey || event.metaKey || event.altKey) return;
    const row = target.closest<HTMLElement>("[data-key]");
    if (event.key === "Escape" && row && target !== row && row.contains(target)) {
      event.preventDefault();
      row.focus({ preventScroll: true });
    }
    if (target !== box && target !== row) return;
    const rendered = [...box.querySelectorAll<HTMLElement>("article[data-key]")];

    if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      event.preventDefault();
      const step = event.key === "ArrowUp" ? -1 : 1;
      const next = row ? rendered[rendered.indexOf(row) + step] : rowAtEdge(box, rendered, step);
      next?.focus({ preventScroll: true });
      next?.scrollIntoView({ block: "nearest" });
      return;
    }
    if (event.key === "End") {
      event.preventDefault();
      toNewest();
      return;
    }
    const messageRow = row && rows.find((one) => one.type === "message" && one.key === row.dataset.key);
    if (!row || messageRow?.type !== "message") return;
    const { message } = messageRow;
    if (!runAction(event, message, row, actions)) return;
    event.preventDefault();
  };
}

/** Runs the action of a key. Returns false for a key without an action. */
function runAction(
  event: KeyboardEvent,
  message: Message,
  row: HTMLElement,
  actions: MessageActions,
): boolean {
  switch (event.key) {
    case "Enter":
    case "ContextMenu":
      actions.openMenu(message, row);
      return true;
    case "F10":
      if (event.shiftKey) actions.openMenu(message, row);
      return event.shiftKey;
    case "r":
      actions.reply(message);
      return true;
    case "e":
      actions.edit(message);
      return true;
    case "Delete":
      actions.askDelete(message);
      return true;
    default:
      return false;
  }
}

/**
 * Returns the row that an arrow key moves to when no row has the focus: the last visible row for up, the first one for
 * down.
 */
function rowAtEdge(
  box: HTMLElement,
  rendered: readonly HTMLElement[],
  step: number,
): HTMLElement | undefined {
  const view = box.getBoundingClientRect();
  const visible = rendered.filter((row) => {
    const { top, bottom } = row.getBoundingClientRect();
    return bottom > view.top + 4 && top < view.bottom - 4;
  });
  return step < 0 ? visible.at(-1) : visible[0];
}
