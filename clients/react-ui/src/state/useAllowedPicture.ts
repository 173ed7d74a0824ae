import { useContext } from "react";
import { ChatUiContext } from "./chatUi.js";

/**
 * Returns the URL of a user's picture if its origin is allowed: that of the page, or one of `pictureOrigins`. The host
 * of a picture learns who reads the room and when, and users or their identity provider choose the URL.
 */
export function useAllowedPicture(url: string | undefined): string | undefined {
  const origins = useContext(ChatUiContext)?.pictureOrigins ?? [];
  const page = typeof location === "undefined" ? undefined : location.origin;
  if (url === undefined || !URL.canParse(url, page)) return undefined;
  const { origin } = new URL(url, page);
  // An address such as `data:` has the origin "null", and so may the page.
  return origin !== "null" && (origin === page || origins.includes(origin)) ? url : undefined;
}
