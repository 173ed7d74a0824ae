"""The same as converse.mjs with the stock client for Python: two users converse, and each prints what it received.

Argument: JSON {transports, urls, tokens, room, head, persistence, count}, see converse.mjs.
"""

import json
import sys
import threading
import time
import urllib.parse
import urllib.request
import uuid

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

    def __init__(self, number):
        self.number = number
        self.cursor = dict(options["head"])
        self.joined_epoch = None
        self.messages = []
        self.violations = []
        self.connects = 0
        self.last_acked = 0
        self.joined = threading.Event()
        self.client = None
        threading.Thread(target=self.stay_connected, daemon=True).start()

    def stay_connected(self):
        while True:
            self.client = client = socketio.Client(reconnection=False)
            client.on("message:new", self.receive)
            client.on("room:caught_up", self.catch_up)
            client.on("room:gap", self.fill)
            try:
                auth = {"token": options["tokens"][self.number]}
                client.connect(options["urls"][self.number], auth=auth, transports=options["transports"])
                self.connects += 1
                self.join(client)
                client.wait()
            except Exception as error:  # The library has no common class for failures of a connection.
                print(f"user {self.number}: {error!r}", file=sys.stderr)
            self.joined.clear()
            time.sleep(RETRY_PAUSE_S)

    def join(self, client):
        self.joined_epoch = None
        while client.connected:
            answer = client.call(
                "room:join", {"room": options["room"], "after": self.cursor}, timeout=ANSWER_TIMEOUT_S
            )
            if answer["type"] == "room:joined":
                # Events that came before this answer have the epoch of the cursor only if the epoch did not change.
                self.joined_epoch = answer["rooms"][0]["head"]["epoch"]
                self.joined.set()
                return
            if answer["code"] not in TEMPORARY:
                self.violations.append(f"join: {answer}")
            time.sleep(RETRY_PAUSE_S)

    # The client calls the handlers of one connection in turn, so a fill delays all later events.

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

    def fill(self, gap):
        head = gap["head"]
        seq = min(self.cursor["seq"], gap["after"])
        self.messages = [message for message in self.messages if message["seq"] <= seq]
        while seq < head["seq"]:
            query = {"after": seq, "epoch": head["epoch"], "upto": head["seq"], "limit": PAGE_LIMIT}
            room = urllib.parse.quote(options["room"], safe="")
            url = f"{options['persistence']}/v1/rooms/{room}/events?{urllib.parse.urlencode(query)}"
            request = urllib.request.Request(url)
            request.add_header("Authorization", f"Bearer {options['tokens'][self.number]}")
            try:
                with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S) as answer:
                    page = json.load(answer)
            except OSError:
                time.sleep(RETRY_PAUSE_S)
                continue
            for event in page["events"]:
                if event["type"] == "message:new" and seq < event["seq"] <= head["seq"]:
                    self.keep(event)
            seq = max(seq, min(page["next"]["seq"], head["seq"]))
        self.cursor = {"epoch": head["epoch"], "seq": seq}

    def say(self, content):
        """Sends a message, and retries it until it is stored."""
        client_id = str(uuid.uuid4())
        attempt = 0
        while True:
            attempt += 1
            self.joined.wait()
            message = {"room": options["room"], "client_id": client_id, "content": content, "attempt": attempt}
            try:
                answer = self.client.call("message:send", message, timeout=ANSWER_TIMEOUT_S)
            except socketio.exceptions.SocketIOError:
                answer = None
            if answer and answer["type"] == "ack" and answer["stage"] == "stored":
                self.last_acked = max(self.last_acked, answer["seq"])
                return
            if answer and answer.get("code") not in TEMPORARY:
                raise RuntimeError(answer)
            time.sleep(RETRY_PAUSE_S)

    def say_all(self):
        for number in range(options["count"]):
            self.say(f"{self.number} says {number}")


def show(line):
    print(json.dumps(line), flush=True)


users = [User(number) for number in range(len(options["urls"]))]
for user in users:
    user.joined.wait()
show({"ready": True})
threads = [threading.Thread(target=user.say_all) for user in users]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
last = max(user.last_acked for user in users)
while any(user.cursor["seq"] < last for user in users):
    time.sleep(0.05)
time.sleep(SETTLE_S)
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
