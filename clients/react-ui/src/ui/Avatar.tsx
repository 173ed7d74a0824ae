import type { PresenceStatus } from "@tidings/client";
import { memo, useState } from "react";
import { initials } from "../logic/names.js";
import { useAllowedPicture } from "../state/useAllowedPicture.js";
import { colourStyle } from "./colours.js";
import { Icon, type IconName } from "./Icon.js";

/** The properties of an avatar. */
export interface AvatarProps {
  /** The id of a user or a room, which selects the colour. */
  readonly id: string;
  readonly name: string;
  readonly size?: "small" | "medium";
  /** The presence, shown as a dot. Screen readers ignore the avatar, so a text beside the dot must say the same. */
  readonly status?: PresenceStatus | undefined;
  /** The icon that is shown instead of initials. */
  readonly icon?: IconName;
  /**
   * The URL of the user's picture. It is loaded from the page's own origin and the `pictureOrigins` of the provider
   * only; otherwise the avatar shows the initials.
   */
  readonly picture?: string | undefined;
}

/**
 * The picture of a user, or initials on a colour that is always the same for one id. Decoration only: the name is shown
 * beside the avatar.
 */
export const Avatar = memo(function Avatar(props: AvatarProps) {
  const { id, name, size = "medium", status, icon } = props;
  const picture = useAllowedPicture(props.picture);
  const [brokenPicture, setBrokenPicture] = useState<string>();
  return (
    <span
      className={`tidings-avatar tidings-avatar-${size}`}
      style={colourStyle(id)}
      data-room={icon ? "" : undefined}
      aria-hidden="true"
    >
      {icon ? <Icon name={icon} size={size === "small" ? 16 : 20} /> : initials(name)}
      {picture !== undefined && picture !== brokenPicture && (
        <img
          src={picture}
          alt=""
          loading="lazy"
          decoding="async"
          referrerPolicy="no-referrer"
          onError={() => setBrokenPicture(picture)}
        />
      )}
      {status && status !== "offline" && <span className="tidings-dot" data-status={status} />}
    </span>
  );
});
