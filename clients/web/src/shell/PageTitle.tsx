import { useRooms } from "@tidings/react";
import { useEffect } from "react";
import { documentTitle, roomTitle, totalUnread } from "../logic/title.ts";

/** Sets the title of the page: the number of unread messages, and the open room. */
export function PageTitle({ room }: { room: string | undefined }) {
  const { items } = useRooms();
  const open = items.find((one) => one.id === room);
  const title = documentTitle(totalUnread(items), open && roomTitle(open));
  useEffect(() => {
    document.title = title;
  }, [title]);
  return null;
}
