import { memo } from "react";
import { colourOf, initials } from "../logic/names.ts";
import { Icon, type IconName } from "./Icon.tsx";

/** How somebody is, as the dot shows it. */
export type Status = "online" | "away" | "offline";

interface AvatarProps {
  /** What the colour is made of: a user's or a room's id. */
  readonly id: string;
  readonly name: string;
  readonly size?: "small" | "medium";
  /** Shown as a dot; what it means must be said beside it in words. */
  readonly status?: Status | undefined;
  /** Shown instead of initials. */
  readonly icon?: IconName;
}

/** Initials on a colour that is always the same for somebody. Decoration: the name stands beside it. */
export const Avatar = memo(function Avatar({ id, name, size = "medium", status, icon }: AvatarProps) {
  return (
    <span
      className={`avatar avatar-${size}`}
      data-colour={colourOf(id)}
      data-room={icon ? "" : undefined}
      aria-hidden="true"
    >
      {icon ? <Icon name={icon} size={size === "small" ? 16 : 20} /> : initials(name)}
      {status && status !== "offline" && <span className="dot" data-status={status} />}
    </span>
  );
});
