import { type FormEvent, type ReactNode, useId } from "react";
import { Button } from "../ui/Button.tsx";
import { Dialog } from "../ui/Dialog.tsx";
import { FormError } from "../ui/FormError.tsx";

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
  const form = useId();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    onSubmit();
  };
  return (
    <Dialog
      title={title}
      onClose={onClose}
      confirm={
        <Button variant="primary" type="submit" form={form} busy={busy}>
          {action}
        </Button>
      }
    >
      <form id={form} className="form column" onSubmit={submit} noValidate>
        {children}
        <FormError text={error} />
      </form>
    </Dialog>
  );
}
