"""What must hold on every JSON connection at every moment, whatever a test is about.

One `Ledger` a connection looks at all that is sent and received. It raises nothing itself: it collects
sentences, which the client raises where the test would see them.
"""

import json
import re
from typing import Any

ERROR_CODES = frozenset(
    {"bad_request", "too_long", "not_joined", "no_such_nick", "no_such_room", "nick_taken", "bad_nick"}
    | {"bad_cookie", "denied", "banned", "suspended", "dead", "locked", "rate_limited", "unavailable"}
)
COMES_BACK = frozenset({"shutdown", "timeout", "slow_consumer", "flood", "unavailable"})
BYE_CODES = COMES_BACK | {"replaced", "kicked", "banned", "quit"}
STATES = frozenset(["online", "away", "crashed", "gone", "renamed"])
KINDS = frozenset(["message", "action", "system", "game", "file"])
ANSWERS = frozenset({"ack", "result", "welcome", "error"})
EVENTS = ANSWERS | {"message", "presence", "reset", "ping", "bye"}

NUMBER = (int, float)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
FIELDS: dict[str, dict[str, Any]] = {
    "welcome": {
        "re": int,
        "nick": str,
        "session": str,
        "cookie": str,
        "gateway": str,
        "heartbeat": NUMBER,
        "resumed": bool,
        "rooms": dict,
    },
    "message": {"in": str, "seq": int, "from": str, "body": str, "mid": str, "ts": NUMBER, "kind": str},
    "presence": {"in": str},
    "ack": {"re": int, "in": str, "seq": int},
    "result": {"re": int},
    "error": {"code": str, "text": str},
    "reset": {"in": str, "epoch": str, "seq": int},
    "ping": {"n": int},
    "bye": {"code": str, "text": str},
}


class Ledger:
    """Checks the contract's promises over everything that one connection carries."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.answers: dict[int, list[dict[str, Any]]] = {}
        self._sent: dict[int, int] = {}
        self._resume: dict[str, dict[str, Any]] = {}
        self._next: dict[str, int] = {}
        self._waiting_for_head: set[str] = set()
        self._mids: dict[str, set[str]] = {}
        self._joins: dict[int, str] = {}
        self._bye = False
        self._welcomed = False

    def sent(self, op: dict[str, Any]) -> None:
        """Note an op before it goes out."""
        number = op.get("id")
        if isinstance(number, int):
            self._sent[number] = self._sent.get(number, 0) + 1
        if op.get("op") == "hello":
            resume = op.get("resume")
            self._resume = resume if isinstance(resume, dict) else {}

    def received(self, raw: str) -> dict[str, Any]:
        """Check one frame or line and return its event."""
        try:
            event = json.loads(raw)
        except ValueError:
            self._wrong(f"not JSON: {raw[:200]!r}")
            return {"ev": "?", "raw": raw}
        if not isinstance(event, dict) or event.get("ev") not in EVENTS:
            self._wrong(f"not an event of the contract: {raw[:200]}")
            return {"ev": "?", "raw": raw}
        if self._bye:
            self._wrong(f"after every bye the server closes, but this came: {raw[:200]}")
        self._check_shape(event)
        if event["ev"] in ANSWERS:
            self._check_answer(event)
        getattr(self, f"_on_{event['ev']}", lambda _: None)(event)
        return event

    def unanswered(self) -> list[int]:
        """Ids sent and not answered yet."""
        return [number for number, times in self._sent.items() if len(self.answers.get(number, [])) < times]

    def _wrong(self, text: str) -> None:
        self.violations.append(text)

    def _check_shape(self, event: dict[str, Any]) -> None:
        kind = event["ev"]
        for field, wanted in FIELDS[kind].items():
            value = event.get(field)
            if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
                self._wrong(f"{kind}.{field} is {value!r}, not {wanted}: {event}")

    def _check_answer(self, event: dict[str, Any]) -> None:
        if "re" not in event:
            return
        number = event["re"]
        if number not in self._sent:
            self._wrong(f"answer to an id that was never sent: {event}")
            return
        given = self.answers.setdefault(number, [])
        given.append(event)
        if len(given) > self._sent[number]:
            self._wrong(f"id {number} is answered more often than it was sent ({self._sent[number]}): {given}")

    def _on_welcome(self, event: dict[str, Any]) -> None:
        self._welcomed = True
        rooms = event.get("rooms", {})
        if "@" not in rooms:
            self._wrong(f"welcome.rooms lacks '@': {rooms}")
        for room, head in rooms.items():
            if head == {"error": "not_joined"} and room in self._resume:
                continue
            if not (isinstance(head.get("epoch"), str) and isinstance(head.get("seq"), int)):
                self._wrong(f"welcome.rooms[{room}] lacks epoch or seq: {head}")
                continue
            self._next[room] = self._first_after_welcome(room, head)

    def _first_after_welcome(self, room: str, head: dict[str, Any]) -> int:
        asked = self._resume.get(room)
        if ("recovered" in head) != (room in self._resume):
            self._wrong(f"`recovered` stands only at rooms that `resume` named: {room} {head}, asked {asked}")
        if asked is None or "recovered" not in head:
            return int(head["seq"]) + 1
        if head["recovered"] is True:
            return int(asked["seq"]) + 1
        whole_from = head.get("whole_from")
        if not isinstance(whole_from, int) or not 1 <= whole_from <= head["seq"] + 1:
            self._wrong(f"recovered is false, and whole_from is {whole_from!r}: {head}")
            return int(head["seq"]) + 1
        return whole_from

    def _on_message(self, event: dict[str, Any]) -> None:
        room, seq = event.get("in", "?"), event.get("seq", 0)
        if not self._welcomed:
            self._wrong(f"a message before the welcome: {event}")
        if event.get("kind") not in KINDS:
            self._wrong(f"unknown kind: {event}")
        if CONTROL.search(str(event.get("body"))):
            self._wrong(f"control characters other than newline and tab: {event}")
        if (room == "@") != isinstance(event.get("to"), list):
            self._wrong(f"`to` stands at direct messages and only there: {event}")
        wanted = self._next.get(room, seq)
        if seq != wanted:
            self._wrong(f"{room}: seq {seq} came where {wanted} was next: {event}")
        self._next[room] = seq + 1
        mids = self._mids.setdefault(room, set())
        if event.get("mid") in mids:
            self._wrong(f"{room}: mid came twice: {event}")
        mids.add(event.get("mid", "?"))

    def _on_presence(self, event: dict[str, Any]) -> None:
        if isinstance(event.get("count"), int):
            return
        if not isinstance(event.get("nick"), str) or event.get("state") not in STATES:
            self._wrong(f"presence without nick and a known state, and without count: {event}")
        if (event.get("state") == "renamed") != isinstance(event.get("to"), str):
            self._wrong(f"presence has `to` when renamed and only then: {event}")

    def _on_ack(self, event: dict[str, Any]) -> None:
        if "re" not in event:
            self._wrong(f"ack without re: {event}")

    def _on_result(self, event: dict[str, Any]) -> None:
        text = event.get("text", [])
        if not isinstance(text, list) or not all(isinstance(line, str) for line in text):
            self._wrong(f"result.text is no list of lines: {event}")
        data = event.get("data")
        if isinstance(data, dict) and {"room", "epoch", "seq", "members"} <= data.keys():
            self._next.setdefault(data["room"], data["seq"] + 1)

    def _on_error(self, event: dict[str, Any]) -> None:
        code = event.get("code")
        if code not in ERROR_CODES:
            self._wrong(f"unknown error code: {event}")
        if code in {"suspended", "banned"} and not (
            "until" in event and (event["until"] is None or isinstance(event["until"], NUMBER))
        ):
            self._wrong(f"`until` is a time, or null when endless: {event}")
        if code == "rate_limited" and not isinstance(event.get("retry_after"), NUMBER):
            self._wrong(f"rate_limited without retry_after: {event}")

    def _on_reset(self, event: dict[str, Any]) -> None:
        self._next[event["in"]] = event["seq"] + 1
        self._mids.pop(event["in"], None)

    def _on_bye(self, event: dict[str, Any]) -> None:
        self._bye = True
        if event.get("code") not in BYE_CODES:
            self._wrong(f"unknown bye code: {event}")

    def left(self, room: str) -> None:
        """The session left this room: a later join starts at its head."""
        self._next.pop(room, None)
