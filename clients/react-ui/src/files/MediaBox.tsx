import type { Attachment } from "@tidings/client";
import type { ReactNode } from "react";
import { boxOf } from "../logic/attachments.js";
import { Blurhash } from "./Blurhash.js";

interface MediaBoxProps {
  readonly attachment: Attachment;
  /** A notice in place of the content, such as that the file is being checked. */
  readonly notice?: string | undefined;
  readonly children?: ReactNode;
}

/** A box whose size is known before its picture or video is loaded. Narrow screens shrink it in proportion. */
export function MediaBox({ attachment, notice, children }: MediaBoxProps) {
  const { width, height } = boxOf(attachment);
  return (
    <span className="tidings-media-box" style={{ width, aspectRatio: `${width} / ${height}` }}>
      {attachment.blurhash && <Blurhash hash={attachment.blurhash} />}
      {children}
      {notice && <span className="tidings-media-notice">{notice}</span>}
    </span>
  );
}
