import { ChatUiProvider, MembersPanel } from "@tidings/react-ui";

export default function Members() {
  return (
    <ChatUiProvider>
      <MembersPanel room="kitchen" />
    </ChatUiProvider>
  );
}
