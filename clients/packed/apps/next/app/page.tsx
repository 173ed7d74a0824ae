// A server component. It renders for each request, and its chat is a client component.
import { Chat } from "./chat";

export const dynamic = "force-dynamic";

export default function Page() {
  return (
    <main>
      <h1>Kitchen</h1>
      <Chat url={process.env.CHAT_URL ?? "https://chat.example.com"} room="kitchen" />
    </main>
  );
}
