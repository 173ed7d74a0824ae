// Holds the kit's clients of all people of `./dev play --client ts`: orders come in as lines of JSON, answers and news go
// out as such. It plays and writes down; what that comes to, the director judges.
import { createInterface } from "node:readline";
import { Person } from "./person.mjs";

const NEWS_MS = 50;

/** @type {Map<number, Person>} */
const people = new Map();

/** @param {object} line */
function say(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

/** What is done, by the name of the order; what it returns becomes the answer. */
const orders = {
  hire: (order) => void people.set(order.person, new Person(order)),
  come: (_, person) => person.come(),
  go: (_, person) => person.go(),
  say: (order, person) => person.say(order.text),
  tell: (_, person) => person.tell(),
};

async function carryOut(order) {
  try {
    const told = await orders[order.do](order, people.get(order.person));
    if (order.id !== undefined) say({ id: order.id, ...told });
  } catch (error) {
    const why = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    if (order.id === undefined) process.stderr.write(`player: ${order.do}: ${why}\n`);
    else say({ id: order.id, error: why });
  }
}

// So that the director need not ask again and again how far everybody is.
setInterval(() => {
  const news = [];
  for (const [number, person] of people) {
    const told = person.news();
    if (told !== undefined) news.push([number, ...told]);
  }
  if (news.length > 0) say({ news });
}, NEWS_MS);

say({ ready: true });
createInterface({ input: process.stdin })
  .on("line", (line) => void carryOut(JSON.parse(line)))
  .on("close", () => process.exit(0));
