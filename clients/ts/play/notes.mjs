// What the kit gave to one person of one room: the events as they came, the list as it was each time the room was live,
// and the list in the end. Notes what was given twice, out of order, or in one way and not in the other.

const KEPT = 20;

export class Notes {
  /** Everything above it was to be given. */
  #start;
  /** How far it was given. */
  cursor;
  /** By seq: `[seq, id, client id, sender, text]`. */
  #messages = new Map();
  #counts = { duplicated: 0, reordered: 0, others: 0 };
  #sentences = [];

  #broken(kind, what) {
    this.#counts[kind] += 1;
    if (this.#sentences.length < KEPT) this.#sentences.push(what);
  }

  /** A log event was given. */
  hear(event) {
    if (this.cursor !== undefined && event.seq <= this.cursor) {
      const kind = this.#messages.has(event.seq) ? "duplicated" : "reordered";
      this.#broken(kind, `${event.type} at ${event.seq} was given after ${this.cursor}`);
      return;
    }
    this.cursor = event.seq;
    if (event.type === "message:new") {
      const { seq, id, client_id, sender, content } = event;
      this.#messages.set(seq, [seq, id, client_id, sender.id, content]);
    }
    if (event.type === "message:void") this.#messages.delete(event.target);
  }

  /** The room is live, with this list: it is whole, or was read anew because too much was missed. */
  live(list) {
    const items = placed(list);
    const first = items[0]?.seq ?? 1;
    const isAnew = this.#start === undefined || (list.hasOlder && first > (this.cursor ?? 0) + 1);
    if (isAnew) {
      this.#start = list.hasOlder ? first - 1 : 0;
      this.#messages.clear();
    }
    for (const item of items) {
      if (!this.#messages.has(item.seq)) this.#messages.set(item.seq, row(item));
    }
    this.cursor = Math.max(this.cursor ?? 0, items.at(-1)?.seq ?? 0);
  }

  /** All of it, held against the list in the end. */
  told(list) {
    if (this.#start === undefined)
      return { came: false, start: null, cursor: null, messages: [], ...this.#complaints() };
    const items = placed(list);
    const shown = new Map();
    let before = 0;
    for (const item of items) {
      if (shown.has(item.seq)) this.#broken("duplicated", `${item.seq} is shown twice`);
      else if (item.seq < before) this.#broken("reordered", `${item.seq} is shown behind ${before}`);
      shown.set(item.seq, row(item));
      before = item.seq;
    }
    for (const [seq, message] of this.#messages) {
      if (seq < (items[0]?.seq ?? 0)) continue;
      if (String(shown.get(seq)) !== String(message))
        this.#broken("others", `${message} was given and is not shown`);
    }
    const messages = [
      ...this.#messages.values(),
      ...[...shown.values()].filter(([seq]) => !this.#messages.has(seq)),
    ];
    return {
      came: true,
      start: this.#start,
      cursor: Math.max(this.cursor ?? 0, before),
      messages,
      ...this.#complaints(),
    };
  }

  #complaints() {
    return { ...this.#counts, told: this.#sentences };
  }
}

/** Those with a place. */
function placed(list) {
  return list.items.filter((item) => item.seq !== undefined);
}

function row(item) {
  return [item.seq, item.id ?? "", item.clientId, item.sender.id, item.content];
}
