"""What schemathesis cannot know of the service. It loads this file by itself.

Where it asks: made-up rooms, people and positions are not there, and behind `not_found` nothing is looked at. Most
requests are turned to what `stage.rs` has made; those that are to be wrong there stay as they are.
Which refusals are right although the document allows the request. Everything else that it finds fails the test.
"""

import zlib

import schemathesis
from schemathesis.core.failures import ServerError
from schemathesis.core.parameters import ParameterLocation
from schemathesis.openapi.checks import RejectedPositiveData

PATH, QUERY = ParameterLocation.PATH, ParameterLocation.QUERY

ROOMS = ["kitchen", "lobby", "attic", "pair"]
PLACES = {
    "room": ROOMS,
    "seq": [1, 2, 3, 4, 5],
    "user": ["alice", "bob", "carol", "zoe%2B", "zo%C3%AB", "%3Cz%2Fo%3F%23%3E"],
    "emoji": ["%E2%98%95", "%2B1", "%F0%9F%91%8D%F0%9F%8F%BD", "a%2Fb%3F", "x" * 32],
}
# What is archived, left or blocked must not be what the others ask of.
OWN_PLACES = {
    "DELETE /v1/rooms/{room}": {"room": ["cellar", "shed"]},
    "PATCH /v1/rooms/{room}": {"room": ["pantry"]},
    "DELETE /v1/rooms/{room}/members/{user}": {"room": ["porch"]},
    "PUT /v1/users/{user}": {"user": ["dora", "emil"]},
}
QUESTIONS = {
    "room": ROOMS,
    "q": ["tea", "coffee", "ready"],
    "epoch": ["1"],
    # Who asks for what is not stored waits five seconds.
    "upto": [0, 1, 2],
}
# Of these a page takes one.
BOUNDS = ["before", "after", "around"]


@schemathesis.hook
def before_call(context, case, kwargs):
    """Turns a request to what is there."""
    if case.path_parameters and not is_wrong(case, PATH):
        places = PLACES | OWN_PLACES.get(case.operation.label, {})
        # All of them or none: what stays beside another would be taken for the wrong part of a wrong request.
        chance = dice(case.path_parameters)
        if chance % 4 or case.operation.label in OWN_PLACES:
            for name in case.path_parameters:
                case.path_parameters[name] = places[name][chance // 4 % len(places[name])]
    if case.query and not is_wrong(case, QUERY):
        for name in QUESTIONS.keys() & case.query.keys():
            chance = dice(case.query[name])
            if chance % 4 or name == "upto":
                case.query[name] = QUESTIONS[name][chance // 4 % len(QUESTIONS[name])]
        for name in [name for name in BOUNDS if name in case.query][1:]:
            del case.query[name]


def dice(value):
    """The same for the same value in every run."""
    return zlib.crc32(repr(value).encode())


def is_wrong(case, location):
    """Whether this part of the request breaks a rule on purpose."""
    component = case.meta.components.get(location)
    return component is not None and component.mode.is_negative


# A cursor is opaque: what was made up is none.
CURSOR = {"cursor"}
# The document counts characters, the rule counts bytes.
EMOJI = {"emoji"}
# JSON Schema takes 1.0 for an integer, the service does not.
SEQ = {"seq"}

# The fields that may be refused for a rule that JSON Schema cannot tell.
RULES = {
    "GET /v1/rooms": CURSOR,
    "GET /v1/me/rooms": CURSOR,
    "GET /v1/rooms/{room}/members": CURSOR,
    "GET /v1/search": CURSOR,
    # A direct room has two members, and nobody is named twice.
    "POST /v1/rooms": {"members"},
    # Empty only with attachments; a private message names somebody; 1.0 again.
    "POST /v1/rooms/{room}/messages": {"content", "visible_to", "reply_to", "attempt", "attachments"},
    "PATCH /v1/rooms/{room}/messages/{seq}": {"content"},
    "PUT /v1/rooms/{room}/messages/{seq}/reactions/{emoji}": EMOJI,
    "DELETE /v1/rooms/{room}/messages/{seq}/reactions/{emoji}": EMOJI,
    "POST /v1/rooms/{room}/read": SEQ,
    "POST /v1/rooms/{room}/delivered": SEQ,
}


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Whether a failure counts."""
    if isinstance(failure, RejectedPositiveData) and response.status_code == 400:
        return response.json().get("field") not in RULES.get(case.operation.label, ())
    if isinstance(failure, ServerError) and response.status_code == 503:
        # What was waited for was not stored: there is no such position.
        return "upto" not in (case.query or {})
    return True
