/** An error that screen readers announce at once. Renders nothing without an error. */
export function FormError({ text }: { text: string | undefined }) {
  return (
    text && (
      <p className="form-error" role="alert">
        {text}
      </p>
    )
  );
}
