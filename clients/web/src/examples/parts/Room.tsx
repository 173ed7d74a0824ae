import { ChatUiProvider, RoomView } from "@tidings/react-ui";

export default function Room() {
  return (
    <ChatUiProvider>
      <div className="example-column">
        <RoomView room="kitchen" />
      </div>
    </ChatUiProvider>
  );
}
