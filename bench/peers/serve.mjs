// The code that both Node.js servers share: listening and printing the address, and the event of a message.

/** Connections that wait to be accepted: thousands come at once. The kernel may hold it lower (net.core.somaxconn). */
const BACKLOG = 4096;

/** Listens on PORT of 127.0.0.1 (0 or none: any) and prints the address for whoever started us. */
export function listen(server) {
  server.listen({ host: '127.0.0.1', port: Number(process.env.PORT ?? 0), backlog: BACKLOG }, () => {
    console.log(`listening 127.0.0.1:${server.address().port}`);
  });
}

/** The fields of Tidings' `message:new` (docs/PROTOCOL.md), in its order, so that events have the same bytes. */
export function messageNew({ room, seq, at, id, clientId, sender, content }) {
  return { room, seq, at, id, client_id: clientId, sender, kind: 'text', content };
}
