import { type ReactNode, useId } from "react";
import { Button, IconButton } from "./Button.js";
import { useModalDialog } from "./useModalDialog.js";

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

/** A modal dialog over an inert page. Escape closes the dialog and returns the focus to where it was. */
export function Dialog({
  title,
  onClose,
  children,
  confirm,
  focusCancel,
  wide = false,
}: DialogProps): ReactNode {
  const titleId = useId();
  const modal = useModalDialog(onClose);
  return (
    <dialog
      {...modal}
      className={wide ? "tidings-dialog tidings-dialog-wide" : "tidings-dialog"}
      aria-labelledby={titleId}
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
