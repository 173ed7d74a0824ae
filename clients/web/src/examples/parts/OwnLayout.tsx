import {
  ChatUiProvider,
  Composer,
  ConnectionBanner,
  MessageList,
  RoomScope,
  TypingLine,
} from "@tidings/react-ui";

export default function OwnLayout() {
  return (
    <ChatUiProvider>
      <div className="example-column">
        <RoomScope room="kitchen">
          <MessageList />
          <TypingLine />
          <Composer />
        </RoomScope>
        <ConnectionBanner />
      </div>
    </ChatUiProvider>
  );
}
