import type { ButtonHTMLAttributes, ReactNode } from "react";
import { Icon, type IconName } from "./Icon.js";

/** The properties of a button, besides those of `<button>`. */
export type ButtonProps = ButtonHTMLAttributes<HTMLButtonElement> & {
  readonly variant?: "primary" | "plain" | "quiet" | "danger";
  readonly icon?: IconName;
  /** Shows that the action is running, and disables the button. */
  readonly busy?: boolean;
  readonly children: ReactNode;
};

/** A button with a text. */
export function Button({
  variant = "plain",
  icon,
  busy = false,
  children,
  type = "button",
  ...rest
}: ButtonProps): ReactNode {
  return (
    <button
      {...rest}
      type={type}
      className={`tidings-button tidings-button-${variant}`}
      disabled={rest.disabled || busy}
      aria-busy={busy || undefined}
    >
      {icon && <Icon name={icon} size={18} />}
      <span>{children}</span>
    </button>
  );
}

/** The properties of a button with an icon, besides those of `<button>`. */
export type IconButtonProps = ButtonHTMLAttributes<HTMLButtonElement> & {
  readonly icon: IconName;
  /** The action of the button, for screen readers and as a tooltip. */
  readonly label: string;
  readonly size?: number;
};

/** A button with only an icon. */
export function IconButton({ icon, label, size = 20, className = "", ...rest }: IconButtonProps): ReactNode {
  return (
    <button
      type="button"
      {...rest}
      className={`tidings-icon-button ${className}`}
      aria-label={label}
      title={label}
    >
      <Icon name={icon} size={size} />
    </button>
  );
}
