import type { ReactNode } from "react";
import { useChatUi } from "../state/chatUi.js";
import { useAllowedPicture } from "../state/useAllowedPicture.js";
import { Avatar, type AvatarProps } from "./Avatar.js";

/** The avatar of the app, or the avatar of this package. */
export function ChatAvatar(props: AvatarProps): ReactNode {
  const Slot = useChatUi().slots.Avatar ?? Avatar;
  return <Slot {...props} picture={useAllowedPicture(props.picture)} />;
}
