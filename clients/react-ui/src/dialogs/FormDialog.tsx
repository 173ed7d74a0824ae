import { type FormEvent, type ReactNode, useId } from "react";
import { Button } from "../ui/Button.js";
import { Dialog } from "../ui/Dialog.js";
import { FormError } from "../ui/FormError.js";

interface FormDialogProps {
  readonly title: string;
  /** The label of the submit button. */
  readonly action: string;
  readonly busy: boolean;
  readonly error: string | undefined;
  readonly onSubmit: () => void;
  readonly onClose: () => void;
  readonly children: ReactNode;
}

/** A dialog with a form, and with its error below the fields. */
export function FormDialog({ title, action, busy, error, onSubmit, onClose, children }: FormDialogProps) {
  const formId = useId();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    onSubmit();
  };
  return (
    <Dialog
      title={title}
      onClose={onClose}
      confirm={
        <Button variant="primary" type="submit" form={formId} busy={busy}>
          {action}
        </Button>
      }
    >
      <form id={formId} className="tidings-form tidings-column" onSubmit={submit} noValidate>
        {children}
        <FormError text={error} />
      </form>
    </Dialog>
  );
}
