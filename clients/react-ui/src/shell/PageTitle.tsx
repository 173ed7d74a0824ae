import { useRooms } from "@tidings/react";
import { useEffect } from "react";
import { documentTitle, roomTitle, totalUnread } from "../logic/title.js";
import { useChatRoute } from "../state/chatUi.js";
import { useMutedRooms } from "../state/useMutedRooms.js";

/** Sets the title of the page: the number of unread messages, the open room, and the name of the app. */
export function PageTitle({ app }: { readonly app: string }): null {
  const { room } = useChatRoute();
  const { items } = useRooms();
  const unread = totalUnread(items, useMutedRooms());
  const openRoom = items.find((one) => one.id === room);
  const title = documentTitle(unread, app, openRoom && roomTitle(openRoom));
  useEffect(() => {
    document.title = title;
  }, [title]);
  return null;
}
