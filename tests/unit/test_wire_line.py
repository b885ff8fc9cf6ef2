"""The text protocol's lines: what people type is read, and nothing that anybody wrote can forge or harm."""

import re
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from causerie.errors import GOODBYES, REFUSALS, Goodbye, Refused, Violation
from causerie.wire import jsonmsg, line

FORMS = re.compile(r"\[(#\S+|@)\] |\* |! [a-z_]+: |!! (cookie|bye|ping) ", re.ASCII)
CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
wild = st.text(st.characters(codec="utf-8"), max_size=30) | st.text("ab\x1b\x07\r\u009b\u2028[]!*: ", max_size=15)
bodies = st.lists(wild, min_size=1, max_size=4).map("\n".join)


def shown_lines(text: str) -> list[str]:
    """The lines of what goes to a terminal; each is of a known form and none holds a control character."""
    *lines, rest = text.split("\n")
    assert rest == ""
    for each in lines:
        assert FORMS.match(each), each
        assert not CONTROL.search(each), each
        assert len(each.splitlines()) == 1, each
    return lines


def said(**fields: object) -> jsonmsg.Message:
    given_ = {"log": "#dev", "seq": 1, "sender": "bob", "body": "hi", "mid": "m", "ts": 0.0, **fields}
    return jsonmsg.Message(**given_)  # type: ignore[arg-type]


@given(st.sampled_from(["#dev", "@"]), wild, bodies, st.sampled_from(["message", "action", "system"]))
def test_every_line_of_a_body_bears_its_prefix(log: str, sender: str, body: str, kind: str) -> None:
    event = said(
        log=log, sender=sender.replace("\n", ""), body=body, kind=kind, to=["al", "ca"] if log == "@" else None
    )
    lines = shown_lines(line.message(event))
    assert len(lines) == body.count("\n") + 1
    assert all(each.startswith(f"[{log}] ") for each in lines)


def test_how_messages_look() -> None:
    assert line.message(said()) == "[#dev] bob: hi\n"
    assert line.message(said(body="a\n[#dev] eve: b")) == "[#dev] bob: a\n[#dev] bob: [#dev] eve: b\n"
    assert line.message(said(kind="action", body="waves")) == "[#dev] * bob waves\n"
    assert line.message(said(log="@", to=["alice", "carol"], body="psst")) == "[@] bob -> alice, carol: psst\n"
    assert line.message(said(body="\x1b[31mred\u2028\ttab")) == "[#dev] bob: \\x1b[31mred?\ttab\n"


def test_an_action_in_the_inbox_names_its_people() -> None:
    event = said(log="@", to=["alice", "carol"], body="waves", kind="action")
    assert line.message(event) == "[@] bob -> alice, carol: * bob waves\n"


@given(wild, wild, st.sampled_from(["online", "away", "crashed", "gone", "renamed"]))
def test_presence_is_one_line(nick: str, to: str, state: str) -> None:
    shown_lines(line.presence(jsonmsg.Presence("#dev", nick.replace("\n", ""), state, to.replace("\n", ""))))


def test_how_presence_looks() -> None:
    def presence(*fields: str) -> str:
        return line.presence(jsonmsg.Presence("#dev", "bob", *fields))

    assert presence("online") == "* bob joined #dev\n"
    assert presence("gone") == "* bob left #dev\n"
    assert presence("away") == "* bob is away (#dev)\n"
    assert presence("crashed") == "* bob crashed (#dev)\n"
    assert presence("renamed", "rob") == "* bob is now called rob (#dev)\n"
    assert line.presence(jsonmsg.Presence("#dev", count=400)) == "* 400 people are in #dev\n"


@given(st.sampled_from(sorted(REFUSALS)), bodies, st.none() | st.floats(0, 2**31), st.none() | st.floats(0, 60))
def test_a_refusal_is_one_line_with_its_code(
    code: str, text: str, until: float | None, retry_after: float | None
) -> None:
    refused = Refused(code, text, until=until, retry_after=retry_after)
    [shown] = shown_lines(line.error(refused))
    assert shown.startswith(f"! {code}: ")


def test_how_refusals_look() -> None:
    noon = datetime(2025, 11, 22, 12, 30).astimezone()
    spam = Refused("suspended", "spam", until=noon.timestamp())
    assert line.error(spam, noon) == "! suspended: until 12:30 (spam)\n"
    assert line.error(spam, datetime(2025, 1, 1, tzinfo=UTC)) == "! suspended: until 2025-11-22 12:30 (spam)\n"
    assert line.error(Refused("banned", "spam")) == "! banned: until forgiven (spam)\n"
    assert (
        line.error(Refused("rate_limited", "slowly", retry_after=1.25)) == "! rate_limited: slowly (again in 1.2 s)\n"
    )


@given(st.sampled_from(sorted(GOODBYES)), bodies, st.none() | st.floats(0, 60))
def test_a_goodbye_ends_with_the_word_for_programs(code: str, text: str, after: float | None) -> None:
    lines = shown_lines(line.bye(Goodbye(code, text, retry_after=after)))
    assert re.fullmatch(rf"!! bye {code}" + (r" \d+\.\d" if after is not None else ""), lines[-1])


@given(st.lists(bodies, max_size=3))
def test_notices_keep_their_form(texts: list[str]) -> None:
    assert len(shown_lines(line.notice(texts))) == sum(text.count("\n") + 1 for text in texts)


def test_words_for_programs() -> None:
    assert line.cookie("c0_-") == "!! cookie c0_-\n"
    assert line.ping(7) == "!! ping 7\n"
    assert line.reset("#dev") == "* some messages in #dev may have been lost\n"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("alice", line.Nick("alice")),
        ("  alice ", line.Nick("alice")),
        ("al ice", line.Nick("al ice")),  # whether that is a nick is decided elsewhere
        ("!reconnect c00kie", line.Reconnect("c00kie")),
        ("!reconnect   c00kie  ", line.Reconnect("c00kie")),
        ("!Reconnect c00kie", line.Reconnect("c00kie")),
        ("!QUIT", line.Leave()),
        ("Quit", line.Nick("Quit")),
        ("!quit", line.Leave()),
        ("!logout", line.Leave()),
        ("quit", line.Leave()),
    ],
)
def test_the_first_line(typed: str, meant: object) -> None:
    assert line.decode_first(typed.encode()) == meant


@pytest.mark.parametrize("typed", [b"", b"   ", b"!reconnect", b"!reconnect ", b"!list", b"\xff", b"al\xc3"])
def test_first_lines_that_are_none(typed: bytes) -> None:
    with pytest.raises(Violation):
        line.decode_first(typed)


@given(st.binary(max_size=40))
@example(b"!reconnect\x00")
def test_noise_as_the_first_line(noise: bytes) -> None:
    with suppress(Violation):
        asked = line.decode_first(noise)
        assert isinstance(asked, line.Nick | line.Reconnect | line.Leave)


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        (b"!pong 7", True),
        (b"!PONG 7", True),
        (b"!pong", True),
        (b"!pong  ", True),
        (b"!pongs", False),
        (b" !pong", False),
    ],
)
def test_answers_to_pings(typed: bytes, answer: bool) -> None:
    assert line.pong_of(typed) is answer
