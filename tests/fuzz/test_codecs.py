"""Garbage is read or refused with the protocol's own error, and nothing else ever comes out of a codec."""

from contextlib import suppress

from hypothesis import given

from causerie import commands
from causerie.errors import Refused
from causerie.wire import jsonmsg, line
from causerie.wire.framing import MAX_LINE, LineFramer
from causerie.wire.websocket import Control, FrameReader, Opcode, WebSocketError, close_code
from tests.fuzz.streams import frame_streams, tcp_streams


def understand(message: bytes) -> None:
    """What every protocol makes of a message."""
    with suppress(Refused):
        jsonmsg.encode(jsonmsg.decode_op(message))
    with suppress(Refused):
        line.decode_first(message)
    with suppress(Refused):
        commands.parse(line.decode(message), "#lobby")


@given(tcp_streams)
def test_lines(stream: bytes) -> None:
    framer = LineFramer()
    framer.feed(stream)
    while (item := framer.take()) is not None:
        if isinstance(item, bytes):
            understand(item)
    assert framer.waiting <= MAX_LINE + 1


@given(frame_streams)
def test_frames(stream: bytes) -> None:
    reader = FrameReader()
    reader.feed(stream)
    with suppress(WebSocketError):
        while (item := reader.take()) is not None:
            if isinstance(item, bytes):
                understand(item)
            elif isinstance(item, Control) and item.opcode == Opcode.CLOSE:
                close_code(item.payload)
