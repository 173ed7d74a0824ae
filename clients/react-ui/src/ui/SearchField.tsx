import { forwardRef, type InputHTMLAttributes } from "react";
import { Icon } from "./Icon.js";

interface SearchFieldProps extends Omit<InputHTMLAttributes<HTMLInputElement>, "onChange"> {
  readonly label: string;
  readonly onChange: (value: string) => void;
}

/** A field for search words, with `children` at its end. */
export const SearchField = forwardRef<HTMLInputElement, SearchFieldProps>(function SearchField(
  { label, onChange, children, ...rest },
  ref,
) {
  return (
    <div className="tidings-search-field tidings-line">
      <Icon name="search" size={18} />
      <input
        ref={ref}
        {...rest}
        type="search"
        aria-label={label}
        onChange={(event) => onChange(event.target.value)}
      />
      {children}
    </div>
  );
});
