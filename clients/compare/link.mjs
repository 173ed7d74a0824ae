// A TCP proxy on 127.0.0.1 whose connections a run can cut. A fault ends or delays connections; it never changes bytes.

import { connect, createServer } from "node:net";

/** Opens a link to a server. `target` may change while the link is open. */
export async function openLink(target) {
  const pairs = new Set();
  const link = { target, refuses: false, holds: false };
  const server = createServer((clientSocket) => {
    if (link.refuses) return void clientSocket.resetAndDestroy();
    const serverSocket = connect({ host: "127.0.0.1", port: link.target });
    const pair = { clientSocket, serverSocket };
    pairs.add(pair);
    for (const [from, to] of [
      [clientSocket, serverSocket],
      [serverSocket, clientSocket],
    ]) {
      from.setNoDelay(true);
      from.on("data", (bytes) => to.write(bytes));
      from.on("error", () => {});
      from.on("close", () => {
        pairs.delete(pair);
        to.destroy();
      });
      if (link.holds) from.pause();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));

  link.port = server.address().port;
  /** Ends every connection with RST. */
  link.cut = () => {
    for (const { clientSocket, serverSocket } of pairs) {
      clientSocket.resetAndDestroy();
      serverSocket.resetAndDestroy();
    }
  };
  /** From now on the link passes no bytes in either direction, without an error. */
  link.blackHole = () => {
    link.holds = true;
    for (const { clientSocket, serverSocket } of pairs) {
      clientSocket.pause();
      serverSocket.pause();
    }
  };
  /** From now on the link refuses new connections. */
  link.refuse = () => {
    link.refuses = true;
  };
  /** Accepts connections again. Held connections are cut, as by a router that lost its state. */
  link.heal = () => {
    if (link.holds) link.cut();
    link.refuses = false;
    link.holds = false;
  };
  link.close = () => {
    link.cut();
    server.close();
  };
  return link;
}
