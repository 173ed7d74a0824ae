import type { Attachment, Message } from "@tidings/client";
import { fileName } from "../logic/attachments.js";
import { useActions } from "../room/actions.js";
import { useRowTabIndex } from "../room/rowTabIndex.js";
import { MediaBox } from "./MediaBox.js";
import { useMediaUrl } from "./useMediaUrl.js";

interface PictureProps {
  readonly message: Message;
  readonly attachment: Attachment;
}

/**
 * A picture in a message: its preview, which is quicker to load. A GIF is loaded as it is, because previews do not
 * move. A click shows the picture large.
 */
export function Picture({ message, attachment }: PictureProps) {
  const { openFile } = useActions();
  const { src, notice, onLoaded, onError } = useMediaUrl(
    message,
    attachment,
    attachment.mediaType !== "image/gif",
  );
  return (
    <button
      type="button"
      className="tidings-picture"
      aria-label={`View picture ${fileName(attachment)}${notice ? `, ${notice}` : ""}`}
      aria-haspopup="dialog"
      tabIndex={useRowTabIndex()}
      onClick={() => openFile(message, attachment)}
    >
      <MediaBox attachment={attachment} notice={notice}>
        {src && !notice && (
          <img
            src={src}
            alt=""
            loading="lazy"
            decoding="async"
            referrerPolicy="no-referrer"
            onLoad={onLoaded}
            onError={onError}
          />
        )}
      </MediaBox>
    </button>
  );
}
