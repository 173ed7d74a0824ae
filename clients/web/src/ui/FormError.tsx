/** What went wrong, said at once; nothing where nothing did. */
export function FormError({ text }: { text: string | undefined }) {
  return (
    text && (
      <p className="form-error" role="alert">
        {text}
      </p>
    )
  );
}
