import { type ReactNode, useEffect, useMemo, useSyncExternalStore } from "react";
import { mayBeFormatted, parserStore } from "../logic/formatting.js";
import type { Block, Inline } from "../logic/markdown.js";
import { linkify } from "../logic/preview.js";
import type { MessageTextProps } from "../slots.js";
import { MentionedText, Mentions } from "./Mentions.js";
import { useRowTabIndex } from "./rowTabIndex.js";

interface MessageLinkProps {
  readonly href: string;
  readonly title?: string;
  readonly className?: string;
  readonly children: ReactNode;
}

/** A link in a message. */
export function MessageLink(props: MessageLinkProps) {
  return <a {...props} target="_blank" rel="noopener noreferrer nofollow" tabIndex={useRowTabIndex()} />;
}

/** The text of a message with its links, its mentions and its formatting: a safe subset of CommonMark. */
export function MessageText({ message }: MessageTextProps): ReactNode {
  const { mentions = [], room, content } = message;
  if (mentions.length === 0) return <FormattedText text={content} />;
  return (
    <Mentions room={room} users={mentions}>
      <FormattedText text={content} />
    </Mentions>
  );
}

function FormattedText({ text }: { text: string }) {
  const hasFormatting = mayBeFormatted(text);
  const parse = useSyncExternalStore(parserStore.subscribe, parserStore.get, parserStore.get);
  useEffect(() => {
    if (hasFormatting) parserStore.load();
  }, [hasFormatting]);
  const blocks = useMemo(() => (hasFormatting ? parse?.(text) : undefined), [hasFormatting, parse, text]);
  if (blocks === undefined) return <PlainText text={text} />;
  const [firstBlock] = blocks;
  // One paragraph shares its last line with the time of the message.
  if (blocks.length === 1 && firstBlock?.type === "paragraph") return <Inlines parts={firstBlock.children} />;
  return (
    <div className="tidings-formatted">
      <Blocks blocks={blocks} />
    </div>
  );
}

function PlainText({ text }: { text: string }) {
  return linkify(text).map((part, index) =>
    part.href ? (
      // biome-ignore lint/suspicious/noArrayIndexKey: the parts of one text never change their order
      <MessageLink key={index} href={part.href}>
        {part.text}
      </MessageLink>
    ) : (
      // biome-ignore lint/suspicious/noArrayIndexKey: the parts of one text never change their order
      <MentionedText key={index} text={part.text} />
    ),
  );
}

/* biome-ignore-start lint/suspicious/noArrayIndexKey: the parts of one text never change their order */
function Blocks({ blocks }: { blocks: readonly Block[] }) {
  return blocks.map((block, index) => <BlockView key={index} block={block} />);
}

function BlockView({ block }: { block: Block }) {
  switch (block.type) {
    case "paragraph":
      return (
        <p dir="auto">
          <Inlines parts={block.children} />
        </p>
      );
    case "code":
      return (
        <pre dir="ltr">
          <code>{block.text}</code>
        </pre>
      );
    case "quote":
      return (
        <blockquote dir="auto">
          <Blocks blocks={block.children} />
        </blockquote>
      );
    case "list": {
      const items = block.items.map((item, index) => (
        <li key={index} dir="auto">
          <Blocks blocks={item} />
        </li>
      ));
      return block.start === undefined ? (
        <ul dir="auto">{items}</ul>
      ) : (
        <ol dir="auto" start={block.start}>
          {items}
        </ol>
      );
    }
  }
}

function Inlines({ parts }: { parts: readonly Inline[] }) {
  return parts.map((part, index) => <InlineView key={index} part={part} />);
}
/* biome-ignore-end lint/suspicious/noArrayIndexKey: the parts of one text never change their order */

function InlineView({ part }: { part: Inline }) {
  switch (part.type) {
    case "text":
      return <MentionedText text={part.text} />;
    case "code":
      return <code dir="ltr">{part.text}</code>;
    case "link":
      return (
        <MessageLink href={part.href} title={part.href}>
          <Inlines parts={part.children} />
        </MessageLink>
      );
    default: {
      const Tag = part.type;
      return (
        <Tag>
          <Inlines parts={part.children} />
        </Tag>
      );
    }
  }
}
