"""What a client knows, as a value: the screen is drawn from it and tests compare it.

`view.apply(event)` gives the next view and leaves the old one as it was. Events are those of the JSON
protocol and the client's own (docs/client.md). Law: the view of what was fetched, with all later events
applied, equals the view of what is fetched afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

INBOX: Final = "@"
KEPT: Final = 200
"""Messages kept of each log; a view is what fits a screen, the server has the rest."""

S = TypeVar("S", bound=msgspec.Struct)


class Member(msgspec.Struct, frozen=True):
    """A person in a room: state `online`, `away` or `crashed`, and flags like `suspended`."""

    nick: str
    state: str = "online"
    flags: tuple[str, ...] = ()


class Log(msgspec.Struct, frozen=True):
    """A room, or the inbox.

    `epoch` and `seq` are the position; `messages` the last ones, without a gap between them, as events.
    `members` is None while it is not known (after a reconnect, or in a room so big that only `count` is
    told).
    """

    epoch: str = ""
    seq: int = 0
    messages: tuple[dict[str, Any], ...] = ()
    members: Mapping[str, Member] | None = None
    count: int | None = None

    def apply(self, event: dict[str, Any]) -> Log:
        """The log after an event that is `in` it."""
        match event["ev"]:
            case "message":
                return self._message(event)
            case "presence":
                return self._presence(event)
            case "reset" | "lost":
                seq = event["seq"] if event["ev"] == "reset" else event["whole_from"] - 1
                return _replace(self, epoch=event["epoch"], seq=seq, messages=())
            case "gap":
                return _replace(self, messages=())
        return self

    def with_members(self, members: list[dict[str, Any]]) -> Log:
        """The log with its list of members known."""
        known = {each["nick"]: msgspec.convert(each, Member) for each in members}
        return _replace(self, members=known, count=len(known))

    def _message(self, event: dict[str, Any]) -> Log:
        if self.messages and event["seq"] <= self.seq:
            return self
        return _replace(self, seq=event["seq"], messages=(*self.messages[1 - KEPT :], event))

    def _presence(self, event: dict[str, Any]) -> Log:
        if "count" in event:
            return _replace(self, members=None, count=event["count"])
        if self.members is None:
            return self
        members, nick, state = dict(self.members), event["nick"], event["state"]
        before = members.pop(nick, Member(nick))
        if state == "renamed":
            members[event["to"]] = _replace(before, nick=event["to"])
        elif state != "gone":
            flags = tuple(event.get("flags", before.flags))
            members[nick] = _replace(before, state=state, flags=flags)
        return _replace(self, members=members, count=len(members))


class View(msgspec.Struct, frozen=True):
    """One session's knowledge of the chat. `online` is whether it is connected."""

    nick: str = ""
    session: str = ""
    online: bool = False
    rooms: Mapping[str, Log] = {}
    inbox: Log = Log()

    def apply(self, event: dict[str, Any]) -> View:
        """The view after the event; one that means nothing here changes nothing."""
        match event["ev"]:
            case "welcome":
                return self._welcome(event)
            case "disconnected" | "bye":
                return _replace(self, online=False)
            case "session_lost":
                return _replace(self, session="", rooms={}, inbox=Log())
            case "result":
                return self._result(event.get("data"))
            case "left":
                return self._without(event["in"])
            case "message" | "presence" | "reset" | "lost" | "gap":
                return self._in_log(event)
        return self

    def _welcome(self, event: dict[str, Any]) -> View:
        same = event["session"] == self.session
        inbox = self.inbox if same else Log()
        logs = {}
        for name, answer in event["rooms"].items():
            if "error" in answer:
                continue
            known = (inbox if name == INBOX else self.rooms.get(name)) if same else None
            if known is None or not known.epoch:
                known = Log(epoch=answer["epoch"], seq=answer["seq"])
            # Presence is not kept for those who were away, so who is there has to be asked again.
            logs[name] = _replace(known, members=None, count=None)
        inbox = logs.pop(INBOX, Log())
        return View(nick=event["nick"], session=event["session"], online=True, rooms=logs, inbox=inbox)

    def _result(self, data: Any) -> View:
        """The answer to a join tells who is in the room."""
        if not (isinstance(data, dict) and {"room", "epoch", "seq", "members"} <= data.keys()):
            return self
        log = self.rooms.get(data["room"]) or Log(epoch=data["epoch"], seq=data["seq"])
        return self._with(data["room"], log.with_members(data["members"]))

    def _in_log(self, event: dict[str, Any]) -> View:
        name = event["in"]
        if name == INBOX:
            return _replace(self, inbox=self.inbox.apply(event))
        mine = event["ev"] == "presence" and event.get("nick") == self.nick
        if mine and event["state"] == "gone":
            return self._without(name)
        view = self._with(name, self.rooms.get(name, Log()).apply(event))
        return _replace(view, nick=event["to"]) if mine and event["state"] == "renamed" else view

    def _with(self, name: str, log: Log) -> View:
        return _replace(self, rooms={**self.rooms, name: log})

    def _without(self, name: str) -> View:
        return _replace(self, rooms={room: log for room, log in self.rooms.items() if room != name})


def _replace(struct: S, **changes: Any) -> S:
    return msgspec.structs.replace(struct, **changes)
