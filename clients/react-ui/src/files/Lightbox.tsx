import type { Attachment, Message } from "@tidings/client";
import { type KeyboardEvent, useState } from "react";
import { attachmentKey, fileName, picturesOf } from "../logic/attachments.js";
import { IconButton } from "../ui/Button.js";
import { useModalDialog } from "../ui/useModalDialog.js";
import { useMediaUrl } from "./useMediaUrl.js";

interface LightboxProps {
  readonly message: Message;
  /** The picture that is shown first. */
  readonly first: Attachment;
  readonly onOpen: (attachment: Attachment) => void;
  readonly onClose: () => void;
}

/** The pictures of a message, one at a time over the page. The arrow keys change the picture, Escape closes. */
export function Lightbox({ message, first, onOpen, onClose }: LightboxProps) {
  const modal = useModalDialog(onClose);
  const pictures = picturesOf(message.attachments);
  const firstIndex = pictures.findIndex((one) => attachmentKey(one) === attachmentKey(first));
  const [index, setIndex] = useState(Math.max(firstIndex, 0));
  const picture = pictures[index];
  const go = (step: number) => setIndex((index + step + pictures.length) % pictures.length);
  const onKeyDown = (event: KeyboardEvent) => {
    modal.onKeyDown(event);
    if (pictures.length < 2 || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      event.preventDefault();
      go(event.key === "ArrowLeft" ? -1 : 1);
    }
  };
  return (
    <dialog
      {...modal}
      className="tidings-lightbox"
      aria-label={picture ? `Picture ${fileName(picture)}` : "Picture"}
      onKeyDown={onKeyDown}
    >
      <div className="tidings-lightbox-bar tidings-line">
        <span className="tidings-lightbox-name" role="status" dir="auto">
          {picture && fileName(picture)}
          {pictures.length > 1 && ` (${index + 1} of ${pictures.length})`}
        </span>
        {picture && (
          <IconButton icon="download" label={`Open ${fileName(picture)}`} onClick={() => onOpen(picture)} />
        )}
        <IconButton icon="close" label="Close" data-autofocus="" onClick={onClose} />
      </div>
      {picture && <LargePicture key={attachmentKey(picture)} message={message} attachment={picture} />}
      {pictures.length > 1 && (
        <div className="tidings-lightbox-steps">
          <IconButton icon="back" label="Previous picture" onClick={() => go(-1)} />
          <IconButton icon="forward" label="Next picture" onClick={() => go(1)} />
        </div>
      )}
    </dialog>
  );
}

function LargePicture({ message, attachment }: { message: Message; attachment: Attachment }) {
  const { src, notice, onLoaded, onError } = useMediaUrl(message, attachment);
  const { width, height } = attachment;
  if (notice) return <p className="tidings-media-notice">{notice}</p>;
  return (
    <img
      className="tidings-lightbox-picture"
      src={src}
      alt={fileName(attachment)}
      width={width}
      height={height}
      referrerPolicy="no-referrer"
      onLoad={onLoaded}
      onError={onError}
    />
  );
}
