// A TCP proxy on 127.0.0.1 whose connections can be cut. Bytes are never altered: what a fault takes is their end, or time.

import { connect, createServer } from "node:net";

/** Opens a link to a server; `target` may be changed while it stands. */
export async function openLink(target) {
  const pairs = new Set();
  const link = { target, refuses: false, holds: false };
  const server = createServer((down) => {
    if (link.refuses) return void down.resetAndDestroy();
    const up = connect({ host: "127.0.0.1", port: link.target });
    const pair = { down, up };
    pairs.add(pair);
    for (const [from, to] of [
      [down, up],
      [up, down],
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
    for (const { down, up } of pairs) {
      down.resetAndDestroy();
      up.resetAndDestroy();
    }
  };
  /** From now on nothing comes through, either way, and nobody is told. */
  link.blackHole = () => {
    link.holds = true;
    for (const { down, up } of pairs) {
      down.pause();
      up.pause();
    }
  };
  /** From now on connections are refused. */
  link.refuse = () => {
    link.refuses = true;
  };
  /** New connections are served again; those that were held are cut, as behind a router that forgot them. */
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
