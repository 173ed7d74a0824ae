import { type KeyboardEvent, type ReactNode, useEffect, useId, useRef } from "react";
import { Button, IconButton } from "./Button.js";

/** The properties of a dialog. */
export interface DialogProps {
  readonly title: string;
  /** Closes the dialog. */
  readonly onClose: () => void;
  readonly children: ReactNode;
  /** The button at the bottom that takes the action. "Cancel" is beside it. */
  readonly confirm?: ReactNode;
  /** Whether "Cancel" has the focus when the dialog opens. */
  readonly focusCancel?: boolean;
  readonly wide?: boolean;
}

/** The selector of elements that can get the focus. */
const FOCUSABLE_ELEMENTS =
  "a[href], button:not(:disabled), input:not(:disabled), select:not(:disabled), textarea:not(:disabled), [tabindex='0']";

/** A modal dialog over an inert page. Escape closes the dialog and returns the focus to where it was. */
export function Dialog({
  title,
  onClose,
  children,
  confirm,
  focusCancel,
  wide = false,
}: DialogProps): ReactNode {
  const element = useRef<HTMLDialogElement>(null);
  const titleId = useId();

  useEffect(() => {
    const dialog = element.current;
    const previousFocus = document.activeElement;
    if (dialog && !dialog.open) dialog.showModal();
    const first = dialog?.querySelector<HTMLElement>("[data-autofocus]");
    first?.focus();
    return () => {
      dialog?.close();
      if (previousFocus instanceof HTMLElement && previousFocus.isConnected) previousFocus.focus();
    };
  }, []);

  // Keeps Tab inside the dialog. By default Tab moves the focus to the browser's own controls.
  const onKeyDown = (event: KeyboardEvent) => {
    // The page behind the dialog must not handle the same Escape.
    event.stopPropagation();
    if (event.key !== "Tab") return;
    const focusables = [...(element.current?.querySelectorAll<HTMLElement>(FOCUSABLE_ELEMENTS) ?? [])].filter(
      (focusable) => focusable.offsetParent,
    );
    const edge = event.shiftKey ? focusables[0] : focusables.at(-1);
    if (document.activeElement === edge) {
      event.preventDefault();
      (event.shiftKey ? focusables.at(-1) : focusables[0])?.focus();
    }
  };

  return (
    <dialog
      ref={element}
      className={wide ? "tidings-dialog tidings-dialog-wide" : "tidings-dialog"}
      aria-labelledby={titleId}
      onKeyDown={onKeyDown}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onClick={(event) => {
        if (event.target === element.current) onClose();
      }}
    >
      <div className="tidings-dialog-inside tidings-column">
        <header className="tidings-dialog-header tidings-line">
          <h2 id={titleId}>{title}</h2>
          <IconButton icon="close" label="Close" onClick={onClose} />
        </header>
        {/* A dialog without buttons may scroll, so it must be reachable by keyboard. */}
        <div className="tidings-dialog-body" tabIndex={confirm ? undefined : 0}>
          {children}
        </div>
        {confirm && (
          <footer className="tidings-dialog-footer">
            <Button onClick={onClose} data-autofocus={focusCancel ? "" : undefined}>
              Cancel
            </Button>
            {confirm}
          </footer>
        )}
      </div>
    </dialog>
  );
}
