import { ChatUiProvider, SearchPanel } from "@tidings/react-ui";

export default function Search() {
  return (
    <ChatUiProvider>
      <SearchPanel room="kitchen" />
    </ChatUiProvider>
  );
}
