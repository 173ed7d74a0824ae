// Two kits through the same cuts at the same moments: what reaches the other side's application, and how often.
// node run.mjs [--cuts N] [--seed S] [--json FILE]; exits 1 when this project's kit loses or doubles one message.

import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { socketIo, tidings, until } from "./kits.mjs";
import { openLink } from "./link.mjs";
import { schedule } from "./schedule.mjs";
import { startSocketIo, startTidings } from "./system.mjs";

const { values } = parseArgs({
  options: {
    cuts: { type: "string", default: "100" },
    seed: { type: "string", default: "1" },
    json: { type: "string" },
  },
});
// Below what one user may send in a second through one gateway.
const EVERY_MS = 125;
const QUIET_MS = 5000;
// A kit that sends one after the other, each once the one before was answered or given up, comes to rest late.
const PATIENCE_MS = 120_000;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const system = await startTidings();
const nodes = [
  await startSocketIo(system.described.redis_url),
  await startSocketIo(system.described.redis_url),
];
const gatewayPorts = system.described.gateways.map((origin) => Number(new URL(origin).port));

const opened = [];
/** Links of one pair of a sender and a receiver, each before another node. */
async function linked(ports) {
  const links = { sender: await openLink(ports[0]), receiver: await openLink(ports[1]) };
  opened.push(links);
  return { sender: links.sender.port, receiver: links.receiver.port };
}
const nodePorts = nodes.map((node) => node.port);
const kits = [
  await tidings(system, await linked(gatewayPorts)),
  await socketIo(await linked(nodePorts), 0),
  await socketIo(await linked(nodePorts), 3),
];

let sent = 0;
const sending = setInterval(() => {
  sent += 1;
  for (const kit of kits) kit.send(`message ${sent}`);
}, EVERY_MS);

const begun = Date.now();
for (const { kind, side, ms, pauseMs } of schedule(Number(values.seed), Number(values.cuts))) {
  await sleep(pauseMs);
  if (kind === "node") {
    const number = side === "sender" ? 0 : 1;
    await Promise.all([system.kill(number), nodes[number].kill()]);
    await sleep(ms);
    await Promise.all([system.start(number), nodes[number].start()]);
    continue;
  }
  const hit = opened.flatMap((links) => (side === "both" ? Object.values(links) : [links[side]]));
  if (kind !== "silent") for (const link of hit) link.cut();
  if (kind === "cut") continue;
  for (const link of hit) kind === "away" ? link.refuse() : link.blackHole();
  await sleep(ms);
  for (const link of hit) link.heal();
}
clearInterval(sending);

const total = (kit) => [...kit.heard.values()].reduce((sum, times) => sum + times, 0);
await until(() => kits.every((kit) => kit.open() === 0), PATIENCE_MS);
// Nothing more comes once nothing came for a while.
for (let before = -1, now = 0; before !== now; ) {
  before = kits.reduce((sum, kit) => sum + total(kit), 0);
  await sleep(QUIET_MS);
  now = kits.reduce((sum, kit) => sum + total(kit), 0);
}

for (const kit of kits) await kit.finish?.();

const results = kits.map((kit) => ({
  kit: kit.name,
  sent,
  missing: sent - kit.heard.size,
  doubled: [...kit.heard.values()].filter((times) => times > 1).length,
  given_up: kit.givenUp(),
  still_waiting: kit.open(),
}));
const outcome = {
  cuts: Number(values.cuts),
  seed: Number(values.seed),
  seconds: (Date.now() - begun) / 1000,
  results,
};
for (const { kit, missing, doubled, given_up, still_waiting } of results) {
  process.stdout.write(
    `${kit.padEnd(22)} ${missing} missing, ${doubled} doubled, ${given_up} given up, ${still_waiting} still waiting, of ${sent}\n`,
  );
}
if (values.json) writeFileSync(values.json, `${JSON.stringify(outcome, null, 2)}\n`);

for (const kit of kits) kit.close();
for (const links of opened) for (const link of Object.values(links)) link.close();
await Promise.all(nodes.map((node) => node.kill()));
await system.stop();
const [ours] = results;
process.exit(ours.missing === 0 && ours.doubled === 0 ? 0 : 1);
