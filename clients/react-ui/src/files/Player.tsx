import type { Attachment, Message } from "@tidings/client";
import { type SyntheticEvent, useRef } from "react";
import { fileName } from "../logic/attachments.js";
import { MediaBox } from "./MediaBox.js";
import { useMediaUrl } from "./useMediaUrl.js";

interface PlayerProps {
  readonly message: Message;
  readonly attachment: Attachment;
  readonly kind: "video" | "audio";
}

/** A video or a sound with the browser's controls. If its address ends, it continues at the same time with a new one. */
export function Player({ message, attachment, kind }: PlayerProps) {
  const { src, notice, onLoaded, onError } = useMediaUrl(message, attachment);
  /** Where to continue after the address has changed. */
  const position = useRef({ at: 0, playing: false });
  const events = {
    onPlaying: onLoaded,
    onTimeUpdate: ({ currentTarget: { currentTime, paused } }: SyntheticEvent<HTMLMediaElement>) => {
      if (currentTime > 0) position.current = { at: currentTime, playing: !paused };
    },
    onPause: () => {
      position.current.playing = false;
    },
    onLoadedMetadata: ({ currentTarget }: SyntheticEvent<HTMLMediaElement>) => {
      const { at, playing } = position.current;
      if (at > 0) currentTarget.currentTime = at;
      // The browser may forbid playing without a click; then the user presses the play button.
      if (playing) void currentTarget.play()?.catch(() => {});
    },
    onError,
  };
  const shared = { controls: true, "aria-label": fileName(attachment), src, preload: "metadata", ...events };
  if (kind === "audio") {
    return notice ? (
      <p className="tidings-line">{notice}</p>
    ) : (
      <audio className="tidings-audio" {...shared} />
    );
  }
  return (
    <MediaBox attachment={attachment} notice={notice}>
      {src && !notice && <video playsInline {...shared} />}
    </MediaBox>
  );
}
