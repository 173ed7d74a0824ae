import type { Message } from "@tidings/client";
import type { KeyboardEvent, RefObject } from "react";
import type { Row } from "../logic/rows.ts";
import type { MessageActions } from "./actions.ts";
import type { ListHandle } from "./VirtualList.tsx";

/**
 * The keys of the message list: arrows go from message to message, End to the newest, Enter opens what can be done, R
 * replies, E edits, Delete deletes.
 */
export function useListKeys(
  rows: readonly Row[],
  list: RefObject<ListHandle | null>,
  actions: MessageActions,
) {
  return (event: KeyboardEvent<HTMLElement>) => {
    const box = list.current?.element();
    const target = event.target as HTMLElement;
    if (!box || event.ctrlKey || event.metaKey || event.altKey) return;
    const row = target.closest<HTMLElement>("[data-key]");
    if (target !== box && target !== row) return;
    const drawn = [...box.querySelectorAll<HTMLElement>("article[data-key]")];

    if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      event.preventDefault();
      const step = event.key === "ArrowUp" ? -1 : 1;
      const next = row ? drawn[drawn.indexOf(row) + step] : edge(box, drawn, step);
      next?.focus({ preventScroll: true });
      next?.scrollIntoView({ block: "nearest" });
      return;
    }
    if (event.key === "End") {
      event.preventDefault();
      list.current?.toEnd();
      return;
    }
    const found = row && rows.find((one) => one.type === "message" && one.key === row.dataset.key);
    if (!row || found?.type !== "message") return;
    const { message } = found;
    if (!act(event, message, row, actions)) return;
    event.preventDefault();
  };
}

/** Does what a key stands for; false for other keys. */
function act(event: KeyboardEvent, message: Message, row: HTMLElement, actions: MessageActions): boolean {
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

/** The row that arrow keys begin with: the last one in sight going up, the first one going down. */
function edge(box: HTMLElement, drawn: readonly HTMLElement[], step: number): HTMLElement | undefined {
  const sight = box.getBoundingClientRect();
  const inSight = drawn.filter((row) => {
    const { top, bottom } = row.getBoundingClientRect();
    return bottom > sight.top + 4 && top < sight.bottom - 4;
  });
  return step < 0 ? inSight.at(-1) : inSight[0];
}
