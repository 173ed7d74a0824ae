import { ChatUiProvider, RoomList, useChatRoute } from "@tidings/react-ui";

export default function Rooms() {
  return (
    <ChatUiProvider>
      <RoomList />
      <OpenRoom />
    </ChatUiProvider>
  );
}

function OpenRoom() {
  const { room } = useChatRoute();
  return <p className="example-row">{room ? `The room ${room} is open.` : "No room is open."}</p>;
}
