import type { KeyboardEvent, ReactNode, Ref } from "react";
import { Icon } from "./Icon.tsx";

interface SearchFieldProps {
  readonly label: string;
  readonly placeholder: string;
  readonly value: string;
  readonly onChange: (value: string) => void;
  readonly onKeyDown?: (event: KeyboardEvent) => void;
  /** Whether a dialog puts the focus here. */
  readonly first?: boolean;
  readonly ref?: Ref<HTMLInputElement>;
  /** What stands at its end. */
  readonly children?: ReactNode;
}

/** Where one types what is sought. */
export function SearchField({
  label,
  placeholder,
  value,
  onChange,
  onKeyDown,
  first,
  ref,
  children,
}: SearchFieldProps) {
  return (
    <div className="search-field">
      <Icon name="search" size={18} />
      <input
        ref={ref}
        type="search"
        data-autofocus={first ? "" : undefined}
        aria-label={label}
        placeholder={placeholder}
        value={value}
        onChange={(event) => onChange(event.target.value)}
        onKeyDown={onKeyDown}
      />
      {children}
    </div>
  );
}
