// Runs the kit's clients of all persons of `./dev play --client ts`. It reads commands and writes answers and updates
// as lines of JSON. The director, the process that starts this one, judges the records.
import { createInterface } from "node:readline";
import { Person } from "./person.mjs";

const UPDATE_INTERVAL_MS = 50;

/** @type {Map<number, Person>} */
const people = new Map();

/** @param {object} line */
function writeLine(line) {
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
    if (command.id !== undefined) writeLine({ id: command.id, ...answer });
  } catch (error) {
    const why = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    if (command.id === undefined) process.stderr.write(`player: ${command.do}: ${why}\n`);
    else writeLine({ id: command.id, error: why });
  }
}

// Sends updates, so that the director does not have to poll.
setInterval(() => {
  const news = [];
  for (const [number, person] of people) {
    const update = person.update();
    if (update !== undefined) news.push([number, ...update]);
  }
  if (news.length > 0) writeLine({ news });
}, UPDATE_INTERVAL_MS);

writeLine({ ready: true });
createInterface({ input: process.stdin })
  .on("line", (line) => void execute(JSON.parse(line)))
  .on("close", () => process.exit(0));
