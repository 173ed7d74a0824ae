import type { Attachment, Message } from "@tidings/client";
import { attachmentKey, attachmentKind, fileName, sizeText } from "../logic/attachments.js";
import { useActions } from "../room/actions.js";
import { MessageLink } from "../room/MessageText.js";
import { useRowTabIndex } from "../room/rowTabIndex.js";
import { useChatUi } from "../state/chatUi.js";
import { Icon } from "../ui/Icon.js";
import { PendingFile } from "./PendingFile.js";
import { Picture } from "./Picture.js";
import { Player } from "./Player.js";

/** The files of a message: pictures, players, and links to other files. */
export function Attachments({ message }: { message: Message }) {
  return (
    <ul className="tidings-attachments tidings-column">
      {message.attachments.map((attachment) => (
        <li key={attachmentKey(attachment)}>
          <AttachmentView message={message} attachment={attachment} />
        </li>
      ))}
    </ul>
  );
}

function AttachmentView({ message, attachment }: { message: Message; attachment: Attachment }) {
  const { files } = useChatUi();
  if (attachment.upload !== undefined) return <PendingFile attachment={attachment} />;
  const kind = files ? attachmentKind(attachment) : "file";
  switch (kind) {
    case "picture":
      return <Picture message={message} attachment={attachment} />;
    case "video":
    case "audio":
      return <Player message={message} attachment={attachment} kind={kind} />;
    default:
      return <FileLink message={message} attachment={attachment} />;
  }
}

/** A link to a file. The address of a file of the server is requested when the link is used. */
function FileLink({ message, attachment }: { message: Message; attachment: Attachment }) {
  const { files } = useChatUi();
  const { openFile } = useActions();
  const tabIndex = useRowTabIndex();
  const { url, size } = attachment;
  const name = fileName(attachment);
  const content = (
    <>
      <Icon name="file" size={18} />
      <span dir="auto">{name}</span>
      <small>{sizeText(size)}</small>
    </>
  );
  if (url !== undefined) {
    return (
      <MessageLink href={url} className="tidings-line">
        {content}
      </MessageLink>
    );
  }
  return (
    <button
      type="button"
      className="tidings-file-link tidings-line"
      aria-label={`Download ${name} ${sizeText(size)}`}
      tabIndex={tabIndex}
      disabled={!files || message.seq === undefined}
      onClick={() => openFile(message, attachment)}
    >
      {content}
    </button>
  );
}
