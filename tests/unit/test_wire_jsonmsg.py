"""The JSON protocol's values: what is written is read again, and noise is a `Violation` and nothing else."""

import json
import math
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from causerie.errors import GOODBYES, REFUSALS, Goodbye, Refused, Violation
from causerie.wire import jsonmsg
from causerie.wire.jsonmsg import MAX_ID

texts = st.text(st.characters(codec="utf-8"), max_size=20)
ids = st.integers(1, MAX_ID)
seqs = st.integers(0, MAX_ID)
unset = st.just(msgspec.UNSET)
places = st.builds(jsonmsg.Place, texts, seqs, st.none() | texts)
ops = st.one_of(
    st.builds(
        jsonmsg.Hello,
        id=st.none() | ids,
        nick=st.none() | texts,
        cookie=st.none() | texts,
        device=st.none() | texts,
        resume=st.none() | st.dictionaries(texts, places, max_size=3),
    ),
    st.builds(jsonmsg.Join, id=ids, room=texts),
    st.builds(jsonmsg.Part, id=ids, room=texts),
    st.builds(
        jsonmsg.Send,
        id=st.none() | ids,
        to=texts | st.lists(texts, max_size=3),
        body=texts,
        kind=st.sampled_from(["message", "action"]),
    ),
    st.builds(jsonmsg.History, id=ids, of=texts, before=st.none() | seqs, limit=seqs),
    st.builds(jsonmsg.Command, id=ids, line=texts),
    st.builds(jsonmsg.Pong, n=st.none() | st.integers(-(2**63), 2**63)),
    st.builds(jsonmsg.Quit, id=ids),
)
standings = st.builds(
    jsonmsg.Standing,
    epoch=unset | texts,
    seq=unset | seqs,
    recovered=unset | st.booleans(),
    whole_from=unset | seqs,
    error=unset | texts,
)
moments = st.floats(0, 2**40)
events = st.one_of(
    st.builds(
        jsonmsg.Welcome,
        re=unset | ids,
        nick=texts,
        session=texts,
        cookie=texts,
        gateway=texts,
        heartbeat=st.integers(1, 100) | st.floats(0.1, 100).filter(lambda x: not x.is_integer()),
        resumed=st.booleans(),
        rooms=st.dictionaries(texts, standings, max_size=3),
    ),
    st.builds(
        jsonmsg.Message,
        log=texts,
        seq=seqs,
        sender=texts,
        body=texts,
        mid=texts,
        ts=moments,
        kind=texts,
        to=st.none() | st.lists(texts, max_size=3),
    ),
    st.builds(jsonmsg.Presence, room=texts, nick=texts, state=texts, to=unset | texts),
    st.builds(jsonmsg.Presence, room=texts, count=seqs),
    st.builds(jsonmsg.Ack, re=ids, log=texts, seq=seqs, duplicate=unset | st.just(value=True)),
    st.builds(jsonmsg.Result, re=unset | ids, text=st.lists(texts, max_size=3), data=st.just({"a": [1]})),
    st.builds(jsonmsg.Error, re=unset | ids, code=texts, text=texts, until=unset | st.none() | moments),
    st.builds(jsonmsg.Reset, log=texts, epoch=texts, seq=seqs),
    st.builds(jsonmsg.Ping, n=seqs),
    st.builds(jsonmsg.Bye, code=texts, text=texts, retry_after=unset | moments),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def violation_of(message: bytes) -> Violation | None:
    """What is wrong with an op; None if nothing is."""
    try:
        jsonmsg.decode_op(message)
    except Violation as violation:
        return violation
    return None


@given(ops)
def test_ops_survive_the_wire(op: jsonmsg.Op) -> None:
    message = jsonmsg.encode(op)
    assert b"\n" not in message
    assert jsonmsg.decode_op(message) == op
    assert jsonmsg.id_of(message) == op.id


@given(events)
def test_events_survive_the_wire(event: jsonmsg.Event) -> None:
    message = jsonmsg.encode(event)
    assert b"\n" not in message
    assert jsonmsg.decode_event(message) == event
    json.loads(message)


@given(ops, st.dictionaries(texts, values, max_size=4))
def test_unknown_members_are_ignored(op: jsonmsg.Op, more: dict[str, Any]) -> None:
    known = json.loads(jsonmsg.encode(op))
    fields = {field.encode_name for field in msgspec.structs.fields(op)} | {"op"}
    extra = {key: value for key, value in more.items() if key not in fields}
    assert jsonmsg.decode_op(json.dumps({**extra, **known}).encode()) == op


@given(st.binary(max_size=60) | values.map(lambda value: json.dumps(value).encode()))
@example(b"[" * 16_000)
@example(b'{"a":' * 3000)
@example(b'{"op":"pong","n":' + b"9" * 16_000 + b"}")
@example(b'{"op":"pong","n":1e999}')
@example(b'{"op":"send","to":"#a","body":"\\ud800"}')
@example(b'{"op":"pong","n":1}\x00')
@example(b"\xef\xbb\xbf{}")
def test_noise_is_a_violation_and_nothing_else(noise: bytes) -> None:
    violation = violation_of(noise)
    if violation is not None:
        assert violation.code == "bad_request"
        assert "\x1b" not in violation.text
        violation.text.encode()
    with suppress(Violation):
        jsonmsg.decode_event(noise)


@given(ops, st.data())
def test_a_damaged_op_is_a_violation_or_another_op(op: jsonmsg.Op, data: st.DataObject) -> None:
    message = bytearray(jsonmsg.encode(op))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    violation = violation_of(bytes(message))
    assert violation is None or violation.re is None or 1 <= violation.re <= MAX_ID


@given(st.dictionaries(texts.filter(lambda key: key != "id"), values, max_size=3), ids)
def test_the_id_of_what_is_no_op_is_told(fields: dict[str, Any], number: int) -> None:
    with pytest.raises(Violation) as raised:
        jsonmsg.decode_op(json.dumps({**fields, "op": "fly", "id": number}).encode())
    assert raised.value.re == number


@pytest.mark.parametrize(
    ("message", "number"),
    [
        (b'{"op":"send","id":7,"to":"#a","body":', 7),
        (b'{"id":7,"op', 7),
        (b'{ "op" : "send" , "id" : 9007199254740991 , ', MAX_ID),
        (b'{"op":"send","a":null,"b":-1.5e3,"c":"\\"id\\":3,","id":7}}', 7),
        (b'{"op":"send","id":7', None),  # it may go on
        (b'{"op":"send","x":{"id":7},', None),  # another one's id
        (b'{"op":"send","x":[{"id":7},', None),
        (b'{"op":"send","id":9007199254740992,', None),
        (b'{"op":"send","id":0,', None),
        (b'{"op":"send","id":-1,', None),
        (b'{"op":"send","id":1.5,', None),
        (b'{"op":"send","id":true}', None),
        (b'{"op":"send","id":"7"}', None),
        (b'["id",7]', None),
    ],
)
def test_the_id_of_broken_json(message: bytes, number: int | None) -> None:
    assert jsonmsg.id_of(message) == number


@pytest.mark.parametrize("number", [0, -1, MAX_ID + 1, 1.5, True, "7", [1], {}])
def test_ids_are_whole_numbers(number: Any) -> None:
    with pytest.raises(Violation) as raised:
        jsonmsg.decode_op(json.dumps({"op": "quit", "id": number}).encode())
    assert raised.value.re is None


@pytest.mark.parametrize("kind", ["system", "game", "file", "", "MESSAGE"])
def test_people_post_messages_and_actions_only(kind: str) -> None:
    with pytest.raises(Violation) as raised:
        jsonmsg.decode_op(json.dumps({"op": "send", "id": 5, "to": "#a", "body": "x", "kind": kind}).encode())
    assert raised.value.re == 5


def test_what_stands_in_an_error() -> None:
    def error(refused: Refused) -> Any:
        return json.loads(jsonmsg.encode(jsonmsg.error(refused, 4)))

    assert error(Refused("denied", "no")) == {"ev": "error", "re": 4, "code": "denied", "text": "no"}
    assert error(Refused("suspended", "spam"))["until"] is None
    assert error(Refused("suspended", "spam", until=12.5))["until"] == 12.5
    assert error(Refused("rate_limited", "slow", retry_after=0.123456))["retry_after"] == 0.123
    assert "re" not in json.loads(jsonmsg.encode(jsonmsg.error(Refused("denied", "no"), None)))


@given(st.sampled_from(sorted(REFUSALS)), texts)
def test_every_refusal_can_be_told(code: str, text: str) -> None:
    told = json.loads(jsonmsg.encode(jsonmsg.error(Refused(code, text), None)))
    assert (told["code"], told["text"]) == (code, text)


@given(st.sampled_from(sorted(GOODBYES)), st.none() | st.floats(0, 60))
def test_every_goodbye_can_be_told(code: str, after: float | None) -> None:
    told = json.loads(jsonmsg.encode(jsonmsg.bye(Goodbye(code, "so long", retry_after=after))))
    assert told["code"] == code
    assert ("retry_after" in told) is (after is not None)
    assert after is None or math.isclose(told["retry_after"], after, abs_tol=0.001)
