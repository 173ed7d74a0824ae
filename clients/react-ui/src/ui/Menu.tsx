import type { KeyboardEvent, ReactNode } from "react";
import { Icon, type IconName } from "./Icon.js";
import { moveFocus } from "./moveFocus.js";
import { closePopover, Popover, type PopoverProps } from "./Popover.js";

/** An item of a menu. */
export interface MenuItem {
  readonly label: string;
  readonly icon?: IconName;
  /** The keyboard shortcut, shown beside the label. */
  readonly hint?: string;
  readonly danger?: boolean;
  /** Makes the item a radio item, and says whether it is selected. */
  readonly checked?: boolean;
  /** Runs the action of the item. The menu is closed before. */
  readonly onSelect: () => void;
}

/** The properties of a menu. */
export interface MenuProps extends PopoverProps {
  readonly items: readonly (MenuItem | "line")[];
}

/** A menu: arrow keys, Home, End and first letters move, Enter and Space choose, Escape closes. */
export function Menu({ items, ...popover }: MenuProps): ReactNode {
  const onKeyDown = (event: KeyboardEvent<HTMLDivElement>) =>
    moveFocus(event, "[role^=menuitem]", (at, all) => nextIndex(event.key, at, all));
  return (
    <Popover {...popover} role="menu" className="tidings-menu" onKeyDown={onKeyDown}>
      {items.map((item, index) =>
        item === "line" ? (
          // biome-ignore lint/suspicious/noArrayIndexKey: separators have no other key, and their order never changes
          <hr key={`line-${index}`} className="tidings-menu-line" />
        ) : (
          <button
            // biome-ignore lint/suspicious/noArrayIndexKey: labels may be equal, and the items of an open menu do not move
            key={`${item.label} ${index}`}
            type="button"
            {...roleOf(item)}
            className={`tidings-menu-item tidings-hoverable tidings-line ${item.danger ? "tidings-menu-danger" : ""}`}
            tabIndex={-1}
            onClick={() => {
              closePopover(popover);
              item.onSelect();
            }}
          >
            {item.icon && <Icon name={item.icon} size={18} />}
            <span className="tidings-menu-label">{item.label}</span>
            {item.hint && <kbd>{item.hint}</kbd>}
            {item.checked && <Icon name="check" size={16} />}
          </button>
        ),
      )}
    </Popover>
  );
}

/** Returns the ARIA role of an item; a radio item also gets its state. */
function roleOf({ checked }: MenuItem) {
  return checked === undefined ? { role: "menuitem" } : { role: "menuitemradio", "aria-checked": checked };
}

function nextIndex(key: string, at: number, all: readonly HTMLElement[]): number | undefined {
  const count = all.length;
  if (key === "ArrowDown") return (at + 1) % count;
  if (key === "ArrowUp") return (at - 1 + count) % count;
  if (key === "Home") return 0;
  if (key === "End") return count - 1;
  if (key.length !== 1 || key === " ") return undefined;
  const letter = key.toLowerCase();
  const order = all.map((_, step) => (at + 1 + step) % count);
  return order.find((index) => all[index]?.textContent?.trim().toLowerCase().startsWith(letter));
}
