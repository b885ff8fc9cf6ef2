"""What the notes to a session do to its connections here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from causerie.errors import GOODBYES, Goodbye
from causerie.model import Position
from causerie.store.frames import Note
from causerie.wire import jsonmsg
from gateway import ops
from gateway.channel import Channel

if TYPE_CHECKING:
    from gateway.intake import Client
    from gateway.node import Node


class Notes:
    """Applies notes. `device` and `gen` in them name the connection that asked, which acts on its own reply."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def apply(self, channel: Channel, note: Note) -> None:
        """A note came for the session whose inbox this is."""
        if note.gateway:
            self._node.shares.hear(channel.log[1:], note)
        for client in channel.people:
            if client.pass_on(note):
                self.apply_to(client, note)

    def apply_to(self, client: Client, note: Note) -> None:
        """A note concerns a connection whose session is known."""
        session = client.session
        if session is None or client.closing:
            return
        if note.what == "attach":
            if note.device == session.device and note.gen > session.gen:
                client.hand_over()
                client.goodbye(Goodbye("replaced", "another connection of this device took over"))
        elif note.what == "nick":
            self._rename(client, note.nick)
        elif note.what == "admin":
            session.admin = note.admin
        elif note.device != session.device or note.gen != session.gen:
            self._follow(client, note)

    def _follow(self, client: Client, note: Note) -> None:
        """Do what another connection of the session did."""
        if note.what == "bye":
            client.goodbye(self._goodbye(note))
        elif note.what == "join":
            self._node.spawn(ops.enter(client, note.room, Position(note.epoch, note.seq, note.mid)))
        elif note.what == "leave":
            ops.leave(client, note.room)

    def _goodbye(self, note: Note) -> Goodbye:
        code = note.code if note.code in GOODBYES else "unavailable"
        retry_after = self._node.jitter() if GOODBYES[code] else None
        return Goodbye(code, note.text or note.reason, retry_after=retry_after)

    @staticmethod
    def _rename(client: Client, nick: str) -> None:
        assert client.session is not None
        old, client.named = client.named, nick
        client.session.nick = nick
        if old == nick:
            return
        for channel in client.channels:
            if channel.log[0] == "#":
                client.tell(jsonmsg.Presence(channel.log, old, "renamed", nick))
