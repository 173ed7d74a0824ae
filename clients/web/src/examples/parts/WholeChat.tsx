import { ChatApp } from "@tidings/react-ui";

export default function WholeChat() {
  return <ChatApp />;
}
