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
  /** The presence, shown as a dot. Screen readers ignore the avatar, so a text beside the dot must say the same. */
  readonly status?: PresenceStatus | undefined;
  /** The icon that is shown instead of initials. */
  readonly icon?: IconName;
}

/** Initials on a colour that is always the same for one id. Decoration only: the name is shown beside the avatar. */
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
