import type { InputHTMLAttributes, Ref } from "react";
import { Icon } from "./Icon.tsx";

interface SearchFieldProps extends Omit<InputHTMLAttributes<HTMLInputElement>, "onChange"> {
  readonly label: string;
  readonly onChange: (value: string) => void;
  readonly ref?: Ref<HTMLInputElement>;
}

/** A field for search words, with `children` at its end. */
export function SearchField({ label, onChange, children, ...rest }: SearchFieldProps) {
  return (
    <div className="search-field line">
      <Icon name="search" size={18} />
      <input {...rest} type="search" aria-label={label} onChange={(event) => onChange(event.target.value)} />
      {children}
    </div>
  );
}
