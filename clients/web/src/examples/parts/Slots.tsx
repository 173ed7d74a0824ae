import { Button, ChatApp, type ChatSlots, MessageText, useToast } from "@tidings/react-ui";

const slots: ChatSlots = {
  MessageText: ({ message }) => (
    <>
      {message.content.includes("tea") && "🫖 "}
      <MessageText message={message} />
    </>
  ),
  HeaderActions: ({ room }) => {
    const toast = useToast();
    return <Button onClick={() => toast(`Calling ${room}`)}>Call</Button>;
  },
  ComposerButtons: ({ insert }) => <Button onClick={() => insert("¯\\_(ツ)_/¯")}>Shrug</Button>,
  EmptyState: () => <main className="example-row">Choose a room to begin.</main>,
};

export default function Slots() {
  return <ChatApp slots={slots} />;
}
