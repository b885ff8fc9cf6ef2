"""How far a text client has come, by what its TCP has acknowledged."""

import json

from causerie.model import Position
from gateway.batch import Batch, Dialect
from gateway.channel import Channel, Kept, Room
from gateway.sent import Sent


def room(epoch: str = "e") -> Channel:
    made = Room("#r", Kept())
    made.stand_at(Position(epoch, 0))
    return made


def batch(first: int, count: int) -> Batch:
    fields = {"ev": "message", "in": "#r", "from": "bob", "ts": 1.0, "kind": "message"}
    events = [{**fields, "seq": n, "body": f"message {n}", "mid": f"m{n}"} for n in range(first, first + count)]
    return Batch(
        first, [f"m{n}" for n in range(first, first + count)], "".join(f"{json.dumps(e)}\n" for e in events).encode()
    )


def test_the_last_line_that_arrived_wholly() -> None:
    sent, channel, three = Sent(), room(), batch(5, 3)
    sent.note(10, channel, [three])
    ends = [10 + end for end in three.ends()]
    places = {arrived: sent.last_arrived(channel, arrived) for arrived in (0, ends[0] - 1, ends[0], ends[1], ends[2])}
    assert list(places.values()) == [("e", 4), ("e", 4), ("e", 5), ("e", 6), None]
    assert sent.last_arrived(room(), 0) is None


def test_a_broken_numbering_counts_when_the_news_have_arrived() -> None:
    sent, channel, one = Sent(), room(), batch(5, 1)
    sent.note(0, channel, [one])
    size = len(one.form(Dialect.TEXT))
    sent.note_reset(size, 20, channel, "e", 5)
    channel.stand_at(Position("f", 2))
    sent.note(size + 20, channel, [batch(3, 1)])
    assert sent.last_arrived(channel, size - 1) == ("e", 4)
    assert sent.last_arrived(channel, size) == ("e", 5)
    assert sent.last_arrived(channel, size + 19) == ("e", 5)
    assert sent.last_arrived(channel, size + 20) == ("f", 2)


def test_news_that_were_never_told_do_not_arrive() -> None:
    sent, channel = Sent(), room()
    sent.note_untold_reset(channel, "e", 7)
    sent.forget_arrived(10**9)
    assert sent.last_arrived(channel, 10**9) == ("e", 7)
    assert sent.under_way
