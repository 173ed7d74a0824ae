import { Button } from "./Button.js";
import { Dialog } from "./Dialog.js";
import { FormError } from "./FormError.js";
import { useAction } from "./useAction.js";

interface ConfirmProps {
  readonly title: string;
  readonly text: string;
  readonly action: string;
  /** The action. The dialog closes when the action succeeds, and shows the error when it fails. */
  readonly onConfirm: () => Promise<void> | void;
  readonly onClose: () => void;
}

/** Asks for confirmation before an action that the user could regret. */
export function ConfirmDialog({ title, text, action, onConfirm, onClose }: ConfirmProps) {
  const { busy, error, run } = useAction();
  const confirm = () =>
    run(async () => {
      await onConfirm();
      onClose();
    });
  return (
    <Dialog
      title={title}
      onClose={onClose}
      confirm={
        <Button variant="danger" busy={busy} onClick={confirm}>
          {action}
        </Button>
      }
      focusCancel
    >
      <p>{text}</p>
      <FormError text={error} />
    </Dialog>
  );
}
