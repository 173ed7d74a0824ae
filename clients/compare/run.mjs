// Runs two kits through the same cuts at the same moments, and counts how often each message reaches the receiving
// application. node run.mjs [--cuts N] [--seed S] [--json FILE]; exits with 1 when this project's kit loses or doubles
// a message.

import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { connectSocketIo, connectTidings, waitUntil } from "./kits.mjs";
import { openLink } from "./link.mjs";
import { drawCuts } from "./schedule.mjs";
import { startSocketIo, startTidings } from "./system.mjs";

const { values } = parseArgs({
  options: {
    cuts: { type: "string", default: "100" },
    seed: { type: "string", default: "1" },
    json: { type: "string" },
  },
});
// Stays below the rate limit of one user on one gateway.
const SEND_INTERVAL_MS = 125;
const QUIET_MS = 5000;
// A kit that waits for an answer or a timeout after each message needs a long time to finish.
const FINISH_TIMEOUT_MS = 120_000;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const system = await startTidings();
const nodes = [
  await startSocketIo(system.addresses.redis_url),
  await startSocketIo(system.addresses.redis_url),
];
const gatewayPorts = system.addresses.gateways.map((origin) => Number(new URL(origin).port));

const allLinks = [];
/** Opens the links of one sender and its receiver, each to another node. */
async function openLinks(ports) {
  const links = { sender: await openLink(ports[0]), receiver: await openLink(ports[1]) };
  allLinks.push(links);
  return { sender: links.sender.port, receiver: links.receiver.port };
}
const nodePorts = nodes.map((node) => node.port);
const kits = [
  await connectTidings(system, await openLinks(gatewayPorts)),
  await connectSocketIo(await openLinks(nodePorts), 0),
  await connectSocketIo(await openLinks(nodePorts), 3),
];

let sent = 0;
const sendTimer = setInterval(() => {
  sent += 1;
  for (const kit of kits) kit.send(`message ${sent}`);
}, SEND_INTERVAL_MS);

const startedAt = Date.now();
for (const { kind, side, ms, pauseMs } of drawCuts(Number(values.seed), Number(values.cuts))) {
  await sleep(pauseMs);
  if (kind === "node") {
    const number = side === "sender" ? 0 : 1;
    await Promise.all([system.kill(number), nodes[number].kill()]);
    await sleep(ms);
    await Promise.all([system.start(number), nodes[number].start()]);
    continue;
  }
  const cutLinks = allLinks.flatMap((links) => (side === "both" ? Object.values(links) : [links[side]]));
  if (kind !== "silent") for (const link of cutLinks) link.cut();
  if (kind === "cut") continue;
  for (const link of cutLinks) kind === "away" ? link.refuse() : link.blackHole();
  await sleep(ms);
  for (const link of cutLinks) link.heal();
}
clearInterval(sendTimer);

const countReceived = (kit) => [...kit.received.values()].reduce((sum, times) => sum + times, 0);
await waitUntil(() => kits.every((kit) => kit.pending() === 0), FINISH_TIMEOUT_MS);
// The run is over when no message arrives for a while.
for (let before = -1, now = 0; before !== now; ) {
  before = kits.reduce((sum, kit) => sum + countReceived(kit), 0);
  await sleep(QUIET_MS);
  now = kits.reduce((sum, kit) => sum + countReceived(kit), 0);
}

for (const kit of kits) await kit.finish?.();

const results = kits.map((kit) => ({
  kit: kit.name,
  sent,
  missing: sent - kit.received.size,
  doubled: [...kit.received.values()].filter((times) => times > 1).length,
  given_up: kit.abandoned(),
  still_waiting: kit.pending(),
}));
const outcome = {
  cuts: Number(values.cuts),
  seed: Number(values.seed),
  seconds: (Date.now() - startedAt) / 1000,
  results,
};
for (const { kit, missing, doubled, given_up, still_waiting } of results) {
  process.stdout.write(
    `${kit.padEnd(22)} ${missing} missing, ${doubled} doubled, ${given_up} given up, ${still_waiting} still waiting, of ${sent}\n`,
  );
}
if (values.json) writeFileSync(values.json, `${JSON.stringify(outcome, null, 2)}\n`);

for (const kit of kits) kit.close();
for (const links of allLinks) for (const link of Object.values(links)) link.close();
await Promise.all(nodes.map((node) => node.kill()));
await system.stop();
const [ours] = results;
process.exit(ours.missing === 0 && ours.doubled === 0 ? 0 : 1);
