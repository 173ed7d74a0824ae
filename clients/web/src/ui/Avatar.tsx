import type { PresenceStatus } from "@tidings/client";
import { memo } from "react";
import { initials } from "../logic/names.ts";
import { colourStyle } from "./colours.ts";
import { Icon, type IconName } from "./Icon.tsx";

interface AvatarProps {
  /** The id of a user or a room, which selects the colour. */
  readonly id: string;
  readonly name: string;
  readonly size?: "small" | "medium";
  /** Shown as a dot. A text beside the avatar must say the same. */
  readonly status?: PresenceStatus | undefined;
  /** Shown instead of initials. */
  readonly icon?: IconName;
}

/** Initials on a colour that is always the same for one id. It is decoration, because the name is shown beside it. */
export const Avatar = memo(function Avatar({ id, name, size = "medium", status, icon }: AvatarProps) {
  return (
    <span
      className={`avatar avatar-${size}`}
      style={colourStyle(id)}
      data-room={icon ? "" : undefined}
      aria-hidden="true"
    >
      {icon ? <Icon name={icon} size={size === "small" ? 16 : 20} /> : initials(name)}
      {status && status !== "offline" && <span className="dot" data-status={status} />}
    </span>
  );
});
