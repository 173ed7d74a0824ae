import { type KeyboardEvent, type ReactNode, useEffect, useId, useRef } from "react";
import { Button, IconButton } from "./Button.tsx";

interface DialogProps {
  readonly title: string;
  readonly onClose: () => void;
  readonly children: ReactNode;
  /** The button at the bottom that takes the action. "Cancel" is beside it. */
  readonly confirm?: ReactNode;
  /** Whether "Cancel" has the focus when the dialog opens. */
  readonly focusCancel?: boolean;
  readonly wide?: boolean;
}

const FOCUSABLE =
  "a[href], button:not(:disabled), input:not(:disabled), select:not(:disabled), textarea:not(:disabled), [tabindex='0']";

/** A modal dialog over an inert page. Escape closes the dialog and returns the focus to where it was. */
export function Dialog({ title, onClose, children, confirm, focusCancel, wide = false }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null);
  const titleId = useId();

  useEffect(() => {
    const dialog = element.current;
    const before = document.activeElement;
    if (dialog && !dialog.open) dialog.showModal();
    const first = dialog?.querySelector<HTMLElement>("[data-autofocus]");
    first?.focus();
    return () => {
      dialog?.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);

  // Keeps Tab inside the dialog. By default Tab moves the focus to the browser's own controls.
  const onKeyDown = (event: KeyboardEvent) => {
    // The page behind the dialog must not handle the same Escape.
    event.stopPropagation();
    if (event.key !== "Tab") return;
    const all = [...(element.current?.querySelectorAll<HTMLElement>(FOCUSABLE) ?? [])].filter(
      (one) => one.offsetParent,
    );
    const edge = event.shiftKey ? all[0] : all.at(-1);
    if (document.activeElement === edge) {
      event.preventDefault();
      (event.shiftKey ? all.at(-1) : all[0])?.focus();
    }
  };

  return (
    <dialog
      ref={element}
      className={wide ? "dialog dialog-wide" : "dialog"}
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
      <div className="dialog-inside column">
        <header className="dialog-header line">
          <h2 id={titleId}>{title}</h2>
          <IconButton icon="close" label="Close" onClick={onClose} />
        </header>
        {/* A dialog without buttons may scroll, so it must be reachable by keyboard. */}
        <div className="dialog-body" tabIndex={confirm ? undefined : 0}>
          {children}
        </div>
        {confirm && (
          <footer className="dialog-footer">
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
