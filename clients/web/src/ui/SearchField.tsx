import type { KeyboardEvent, ReactNode, Ref } from "react";
import { Icon } from "./Icon.tsx";

interface SearchFieldProps {
  readonly label: string;
  readonly placeholder: string;
  readonly value: string;
  readonly onChange: (value: string) => void;
  readonly onKeyDown?: (event: KeyboardEvent) => void;
  /** Whether a dialog focuses this field when it opens. */
  readonly first?: boolean;
  readonly ref?: Ref<HTMLInputElement>;
  /** Elements at the end of the field. */
  readonly children?: ReactNode;
}

/** A field for search words. */
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
