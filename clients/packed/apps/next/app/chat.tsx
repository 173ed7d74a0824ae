"use client";

import { TidingsProvider, useConnection, useMessages } from "@tidings/react";
import { type FormEvent, useState } from "react";

async function fetchToken(): Promise<string> {
  const response = await fetch("/token", { method: "POST" });
  if (!response.ok) throw new Error(`no token: status ${response.status}`);
  return response.text();
}

/** The chat of one room. The options contain a function, so a client component makes them. */
export function Chat({ url, room }: { url: string; room: string }) {
  return (
    <TidingsProvider options={{ url, token: fetchToken }}>
      <Room id={room} />
    </TidingsProvider>
  );
}

function Room({ id }: { id: string }) {
  const { state } = useConnection();
  const { items, phase, send } = useMessages(id);
  const [text, setText] = useState("");

  function submit(event: FormEvent) {
    event.preventDefault();
    if (text === "") return;
    send(text);
    setText("");
  }

  return (
    <section data-connection={state} data-phase={phase}>
      {phase === "live" ? null : <p role="status">Loading the messages</p>}
      <ol>
        {items.map((message) => (
          <li key={message.key}>{message.content}</li>
        ))}
      </ol>
      <form onSubmit={submit}>
        <input aria-label="Message" value={text} onChange={(event) => setText(event.target.value)} />
        <button type="submit">Send</button>
      </form>
    </section>
  );
}
