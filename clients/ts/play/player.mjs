// Runs the kit's clients of all persons of `./dev play --client ts`. Commands arrive as lines of JSON,
// answers and updates leave as such. The director judges the records.
import { createInterface } from "node:readline";
import { Person } from "./person.mjs";

const UPDATE_MS = 50;

/** @type {Map<number, Person>} */
const people = new Map();

/** @param {object} line */
function say(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

/** The commands by name; the returned value becomes the answer. */
const commands = {
  hire: (command) => void people.set(command.person, new Person(command)),
  come: (_, person) => person.come(),
  go: (_, person) => person.go(),
  say: (command, person) => person.say(command.text),
  tell: (_, person) => person.record(),
};

async function execute(command) {
  try {
    const answer = await commands[command.do](command, people.get(command.person));
    if (command.id !== undefined) say({ id: command.id, ...answer });
  } catch (error) {
    const why = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    if (command.id === undefined) process.stderr.write(`player: ${command.do}: ${why}\n`);
    else say({ id: command.id, error: why });
  }
}

// Sends updates, so that the director need not poll.
setInterval(() => {
  const news = [];
  for (const [number, person] of people) {
    const update = person.update();
    if (update !== undefined) news.push([number, ...update]);
  }
  if (news.length > 0) say({ news });
}, UPDATE_MS);

say({ ready: true });
createInterface({ input: process.stdin })
  .on("line", (line) => void execute(JSON.parse(line)))
  .on("close", () => process.exit(0));
