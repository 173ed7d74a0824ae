"""The same as converse.mjs with the stock client for Python: two users converse, and each prints what it received.

Argument: JSON {transports, urls, tokens, room, head, persistence, count}, see converse.mjs. The client is that for
asyncio, because the other one calls each handler in a thread of its own: events could overtake each other.
"""

import asyncio
import functools
import json
import os
import sys
import urllib.parse
import uuid

import aiohttp
import socketio

ANSWER_TIMEOUT_S = 10
RETRY_PAUSE_S = 0.2
PAGE_LIMIT = 200
# Time to wait for late and duplicate copies after the last message.
SETTLE_S = 0.5
TEMPORARY = ("unavailable", "overloaded", "rate_limited")

options = json.loads(sys.argv[1])


class User:
    """A user who always reconnects, joins at the cursor, fills gaps, and retries each message until it is stored."""

    def __init__(self, number, http):
        self.number = number
        self.http = http
        self.cursor = dict(options["head"])
        self.joined_epoch = None
        self.messages = []
        self.violations = []
        self.connects = 0
        self.last_acked = 0
        self.joined = asyncio.Event()
        self.client = None
        # The events that wait for the end of a fill, as pairs of a method and its argument.
        self.held = None

    async def stay_connected(self):
        while True:
            self.client = client = socketio.AsyncClient(reconnection=False)
            self.held = None
            client.on("message:new", functools.partial(self.after_fill, client, self.receive))
            client.on("room:caught_up", functools.partial(self.after_fill, client, self.catch_up))
            client.on("room:gap", functools.partial(self.fill, client))
            try:
                auth = {"token": options["tokens"][self.number]}
                await client.connect(options["urls"][self.number], auth=auth, transports=options["transports"])
                self.connects += 1
                await self.join(client)
                await client.wait()
            except Exception as error:  # The library has no common class for failures of a connection.
                print(f"user {self.number}: {error!r}", file=sys.stderr)
            self.joined.clear()
            await asyncio.sleep(RETRY_PAUSE_S)

    async def join(self, client):
        self.joined_epoch = None
        while client.connected:
            content = {"room": options["room"], "after": self.cursor}
            answer = await client.call("room:join", content, timeout=ANSWER_TIMEOUT_S)
            if answer["type"] == "room:joined":
                # Events that came before this answer have the epoch of the cursor only if the epoch did not change.
                self.joined_epoch = answer["rooms"][0]["head"]["epoch"]
                self.joined.set()
                return
            if answer["code"] not in TEMPORARY:
                self.violations.append(f"join: {answer}")
            await asyncio.sleep(RETRY_PAUSE_S)

    def after_fill(self, client, act, event):
        """Calls `act` now, or, while a gap is filled, after the fill. Events of earlier connections do not count."""
        if client is not self.client:
            return
        if self.held is None:
            act(event)
        else:
            self.held.append((act, event))

    def receive(self, event):
        if event["seq"] <= self.cursor["seq"]:
            self.violations.append(f"{event['seq']} came after {self.cursor['seq']}")
            return
        self.cursor = {"epoch": self.joined_epoch or self.cursor["epoch"], "seq": event["seq"]}
        self.keep(event)

    def catch_up(self, event):
        if event["seq"] < self.cursor["seq"]:
            self.violations.append(f"caught up at {event['seq']}, below {self.cursor['seq']}")
        self.cursor = {"epoch": event["epoch"], "seq": event["seq"]}

    def keep(self, event):
        kept = {name: event[name] for name in ("seq", "id", "client_id", "content")}
        self.messages.append({**kept, "sender": event["sender"]["id"]})

    async def fill(self, client, gap):
        if client is not self.client:
            return
        self.held = held = []
        head = gap["head"]
        seq = min(self.cursor["seq"], gap["after"])
        self.cursor = {"epoch": head["epoch"], "seq": seq}
        self.messages = [message for message in self.messages if message["seq"] <= seq]
        while self.cursor["seq"] < head["seq"]:
            page = await self.read_page(head)
            if self.held is not held:  # The connection has ended, or a later gap began.
                return
            if page is None:
                await asyncio.sleep(RETRY_PAUSE_S)
                continue
            for event in page["events"]:
                if event["type"] == "message:new" and self.cursor["seq"] < event["seq"] <= head["seq"]:
                    self.keep(event)
            seq = max(self.cursor["seq"], min(page["next"]["seq"], head["seq"]))
            self.cursor = {"epoch": head["epoch"], "seq": seq}
        if self.held is not held:
            return
        self.held = None
        for act, event in held:
            act(event)

    async def read_page(self, head):
        """The events from the cursor to `head`, or None if they cannot be read now."""
        room = urllib.parse.quote(options["room"], safe="")
        url = f"{options['persistence']}/v1/rooms/{room}/events"
        query = {"after": self.cursor["seq"], "epoch": head["epoch"], "upto": head["seq"], "limit": PAGE_LIMIT}
        headers = {"authorization": f"Bearer {options['tokens'][self.number]}"}
        try:
            async with self.http.get(url, params=query, headers=headers) as answer:
                return await answer.json() if answer.ok else None
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def say(self, content):
        """Sends a message, and retries it until it is stored."""
        client_id = str(uuid.uuid4())
        attempt = 0
        while True:
            attempt += 1
            await self.joined.wait()
            message = {"room": options["room"], "client_id": client_id, "content": content, "attempt": attempt}
            try:
                answer = await self.client.call("message:send", message, timeout=ANSWER_TIMEOUT_S)
            except socketio.exceptions.SocketIOError:
                answer = None
            if answer and answer["type"] == "ack" and answer["stage"] == "stored":
                self.last_acked = max(self.last_acked, answer["seq"])
                return
            if answer and answer.get("code") not in TEMPORARY:
                raise RuntimeError(answer)
            await asyncio.sleep(RETRY_PAUSE_S)

    async def say_all(self):
        for number in range(options["count"]):
            await self.say(f"{self.number} says {number}")


def show(line):
    print(json.dumps(line), flush=True)


async def main():
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(ANSWER_TIMEOUT_S)) as http:
        users = [User(number, http) for number in range(len(options["urls"]))]
        # The variable keeps the tasks alive.
        connections = [asyncio.create_task(user.stay_connected()) for user in users]
        await asyncio.gather(*(user.joined.wait() for user in users))
        show({"ready": True})
        await asyncio.gather(*(user.say_all() for user in users))
        last = max(user.last_acked for user in users)
        while any(user.cursor["seq"] < last for user in users):
            await asyncio.sleep(0.05)
        await asyncio.sleep(SETTLE_S)
        for user in users:
            show(
                {
                    "user": user.number,
                    "messages": user.messages,
                    "violations": user.violations,
                    "connects": user.connects,
                    "transport": user.client.transport(),
                }
            )
        # Ends without the connections, whose tasks would complain.
        os._exit(0)


asyncio.run(main())
