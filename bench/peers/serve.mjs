// The code that both Node.js servers share: listening and printing the address, and the event of a message.

/**
 * Limit of connections that wait to be accepted. It is high because thousands connect at once. The kernel may lower it
 * (net.core.somaxconn).
 */
const MAX_BACKLOG = 4096;

/** Listens on PORT of 127.0.0.1 (0 or none: any) and prints the address for the parent process. */
export function listen(server) {
  server.listen({ host: '127.0.0.1', port: Number(process.env.PORT ?? 0), backlog: MAX_BACKLOG }, () => {
    console.log(`listening 127.0.0.1:${server.address().port}`);
  });
}

/**
 * The event of a message: the fields of Tidings' `message:new` (docs/PROTOCOL.md) in the same order, so that events
 * have the same bytes.
 */
export function messageNew({ room, seq, at, id, clientId, sender, content }) {
  return { room, seq, at, id, client_id: clientId, sender, kind: 'text', content };
}
