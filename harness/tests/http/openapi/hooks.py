"""What schemathesis cannot know about the service. It loads this file itself.

`before_call` redirects most requests to the rooms and users that `stage.rs` creates. Generated ids do not exist, and a
`not_found` hides all later checks. Requests that are invalid on purpose stay unchanged.
`filter_failure` accepts refusals that are right although the document allows the request. Every other failure fails the
test.
"""

import os
import zlib

import schemathesis
from schemathesis.core.failures import ServerError
from schemathesis.core.parameters import ParameterLocation
from schemathesis.openapi.checks import RejectedPositiveData

PATH, QUERY, BODY = ParameterLocation.PATH, ParameterLocation.QUERY, ParameterLocation.BODY

IDS = os.environ["IDS"].split(",") if os.environ.get("IDS") else ["none"]
ROOMS = ["kitchen", "lobby", "attic", "pair"]
PATH_VALUES = {
    "number": [1, 2],
    "room": ROOMS,
    "seq": [1, 2, 3, 4, 5],
    "user": ["alice", "bob", "carol", "zoe%2B", "zo%C3%AB", "%3Cz%2Fo%3F%23%3E"],
    # Objects that the test has made, whose ids nobody can know before.
    "id": IDS,
    "file": IDS,
    "emoji": ["%E2%98%95", "%2B1", "%F0%9F%91%8D%F0%9F%8F%BD", "a%2Fb%3F", "x" * 64],
}
# These operations archive, leave, block or erase their target, so they have targets of their own.
OWN_PATH_VALUES = {
    "DELETE /v1/rooms/{room}": {"room": ["cellar", "shed"]},
    "PATCH /v1/rooms/{room}": {"room": ["pantry"]},
    "DELETE /v1/rooms/{room}/members/{user}": {"room": ["porch"]},
    "PUT /v1/users/{user}": {"user": ["dora", "emil"]},
    "DELETE /v1/users/{user}": {"user": ["fay", "gus"]},
    "POST /v1/files/{file}/reject": {"file": IDS[:1]},
    "DELETE /v1/rooms/{room}/files/{file}": {"room": ["kitchen"], "file": IDS[2:6]},
}
QUERY_VALUES = {
    "room": ROOMS,
    "q": ["tea", "coffee", "ready"],
    "epoch": ["1"],
    "wait_ms": [0, 1, 50],
    "type": [["message:new"], ["message:new", "member:added"]],
    # A request for a higher seq waits five seconds.
    "upto": [0, 1, 2],
}
# A page takes only one of these.
EXCLUSIVE_PARAMETERS = ["before", "after", "around"]
# A port that nobody listens at.
ENDPOINT_URL = "http://127.0.0.1:9/hook"
# The keys of a subscription to push, from RFC 8291.
SUBSCRIPTION = {
    "endpoint": ENDPOINT_URL,
    "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
    "auth": "BTBZMqHH6r4Tts7J_aSIgg",
}
# The same as `PushSubscription.toJSON()` returns it.
NESTED_SUBSCRIPTION = {
    "endpoint": ENDPOINT_URL,
    "expirationTime": None,
    "keys": {"p256dh": SUBSCRIPTION["p256dh"], "auth": SUBSCRIPTION["auth"]},
}


@schemathesis.hook
def before_call(context, case, kwargs):
    """Redirects a request to existing targets."""
    if case.path_parameters and not is_invalid(case, PATH):
        values = PATH_VALUES | OWN_PATH_VALUES.get(case.operation.label, {})
        # Replaces all path parameters or none. Otherwise a remaining generated value could count as the invalid part of
        # the request.
        number = stable_hash(case.path_parameters)
        if number % 4 or case.operation.label in OWN_PATH_VALUES:
            for name in case.path_parameters:
                case.path_parameters[name] = values[name][number // 4 % len(values[name])]
    if case.query and not is_invalid(case, QUERY):
        for name in QUERY_VALUES.keys() & case.query.keys():
            number = stable_hash(case.query[name])
            if number % 4 or name in ("upto", "wait_ms"):
                case.query[name] = QUERY_VALUES[name][number // 4 % len(QUERY_VALUES[name])]
        for name in [name for name in EXCLUSIVE_PARAMETERS if name in case.query][1:]:
            del case.query[name]
    if isinstance(case.body, dict) and not is_invalid(case, BODY) and case.operation.path.startswith("/v1/webhooks"):
        if "url" in case.body:
            case.body["url"] = ENDPOINT_URL
        if case.body.get("rooms"):
            case.body["rooms"] = ["kitchen"]
        if case.body.get("types"):
            case.body["types"] = ["message:new"]
        # 1.0 is no integer.
        if isinstance(case.body.get("seq"), float):
            case.body["seq"] = int(case.body["seq"])

    if isinstance(case.body, dict) and not is_invalid(case, BODY) and case.operation.label == "POST /v1/me/devices":
        # JSON Schema does not express here which fields belong to which kind. This server has only browsers.
        is_flat = stable_hash(case.body) % 2
        case.body.clear()
        case.body.update(SUBSCRIPTION if is_flat else NESTED_SUBSCRIPTION)


def stable_hash(value):
    """A hash that is the same in every run."""
    return zlib.crc32(repr(value).encode())


def is_invalid(case, location):
    """Whether this part of the request breaks a rule on purpose."""
    component = case.meta.components.get(location)
    return component is not None and component.mode.is_negative


# A cursor is opaque, so a generated one is invalid.
CURSOR = {"cursor"}
# The document limits characters, and the service limits bytes.
EMOJI = {"emoji"}
# JSON Schema accepts 1.0 as an integer, the service does not.
SEQ = {"seq"}

# The fields that may be refused for a rule that JSON Schema cannot express.
REFUSABLE_FIELDS = {
    "GET /v1/admin/audit": CURSOR,
    "GET /v1/rooms": CURSOR,
    "GET /v1/me/rooms": CURSOR,
    "GET /v1/rooms/{room}/members": CURSOR,
    "GET /v1/search": CURSOR,
    # The first number of a range may be above the second; the document does not list the event types of the filter.
    "GET /v1/feed": CURSOR | {"partitions", "type"},
    # A direct room has two members, and no member may be listed twice.
    "POST /v1/rooms": {"members"},
    # 1.0 is no integer.
    "PATCH /v1/rooms/{room}": {"slow_mode_s"},
    # Content is empty only with attachments; `visible_to` names a user or a role; `mentions` names members, each once;
    # 1.0 is no integer.
    "POST /v1/rooms/{room}/messages": {"content", "visible_to", "reply_to", "attempt", "attachments", "mentions"},
    "PATCH /v1/rooms/{room}/messages/{seq}": {"content", "mentions"},
    "PUT /v1/rooms/{room}/messages/{seq}/reactions/{emoji}": EMOJI,
    "DELETE /v1/rooms/{room}/messages/{seq}/reactions/{emoji}": EMOJI,
    # A media type has two parts, and 1.0 is no integer. A name must not be blank.
    "POST /v1/rooms/{room}/files": {"media_type", "size", "name"},
    "POST /v1/rooms/{room}/read": SEQ,
    "POST /v1/rooms/{room}/delivered": SEQ,
    # A time in the future.
    "PUT /v1/me/mutes/{room}": {"until"},
    # A text without U+0000; a seq needs a room, and a room is an id.
    "POST /v1/webhooks": {"description"},
    "PATCH /v1/webhooks/{id}": {"description"},
    "GET /v1/webhooks/{id}/dead": CURSOR,
    "DELETE /v1/webhooks/{id}/dead": {"room", "seq"},
    "POST /v1/webhooks/{id}/dead/replay": {"room", "seq"},
}


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Whether a failure counts."""
    if isinstance(failure, RejectedPositiveData) and response.status_code == 400:
        return response.json().get("field") not in REFUSABLE_FIELDS.get(case.operation.label, ())
    if isinstance(failure, RejectedPositiveData) and response.status_code == 413:
        # The settings say how large and how many files may be.
        return case.operation.label != "POST /v1/rooms/{room}/files"
    if isinstance(failure, ServerError) and response.status_code == 503:
        # With `upto`, a 503 is no failure: the request waited for a seq that does not exist.
        return "upto" not in (case.query or {})
    return True
