import type { ReactNode } from "react";

/** An error that screen readers announce at once. Renders nothing without an error. */
export function FormError({ text }: { readonly text: string | undefined }): ReactNode {
  return (
    text && (
      <p className="tidings-form-error" role="alert">
        {text}
      </p>
    )
  );
}
