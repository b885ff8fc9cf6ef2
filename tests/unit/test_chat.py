"""`causerie chat`: the line client as a process, against a scripted server, and how it shows events."""

import asyncio
import json
import signal
import sys
from typing import Any

import pytest

from cli.chat import as_json, as_text
from tests.support.processes import Process, causerie_script, run_program
from tests.support.timing import PATIENCE
from tests.unit.fake_server import Op, Peer, fake_server


def chat(*args: str) -> list[str]:
    return [causerie_script(), "chat", *args]


async def polite(peer: Peer) -> None:
    await peer.welcome()
    await peer.serve()


async def test_the_end_of_input_sends_everything_says_goodbye_and_exits_0() -> None:
    """Programs: "the end of standard input sends what is unacknowledged, says goodbye and exits 0"."""
    ops: list[Op] = []

    async def script(peer: Peer) -> None:
        await peer.welcome()
        read = peer.read

        async def noted() -> Op:
            ops.append(await read())
            return ops[-1]

        peer.read = noted  # type: ignore[method-assign]
        await peer.serve()

    async with fake_server(script) as server:
        done = await run_program(
            chat(server.tcp, "--nick", "ann"),
            stdin="hi\n\n#dev to dev\n@bob psst\n@bob @carol both\n!me waves\n!list\r\nlast without an end",
        )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    said = [(op["to"], op["body"], op["kind"]) for op in ops if op["op"] == "send"]
    assert [each for each in said if each[0] == "#lobby"] == [
        ("#lobby", "hi", "message"),
        ("#lobby", "waves", "action"),
        ("#lobby", "last without an end", "message"),
    ]
    assert [each for each in said if each[0] == "#dev"] == [("#dev", "to dev", "message")]
    assert [each for each in said if "@" in str(each[0])] == [
        ("@bob", "psst", "message"),
        (["@bob", "@carol"], "both", "message"),
    ]
    assert [op["line"] for op in ops if op["op"] == "command"] == ["!list"]
    assert ops[-2].get("body") == "last without an end", "it was typed after the command"
    assert ops[-1]["op"] == "quit"
    lines = done.stdout.splitlines()
    assert lines[0] == "* you are ann, in #lobby"
    assert "[#lobby] ann: hi" in lines
    assert "[#lobby] ann: last without an end" in lines
    assert "* did !list" in lines


async def test_json_prints_events_one_a_line() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.message(1, "hi \x9b31m")
        await peer.serve(seq=1)

    async with fake_server(script) as server:
        done = await run_program(chat(server.ws, "--nick", "ann", "--json"), stdin="hi\n!list\n")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.split("\n")[:-1]]
    assert [event["ev"] for event in events][:5] == ["welcome", "message", "message", "ack", "result"]
    assert events[1]["body"] == "hi \x9b31m"
    assert "\x9b" not in done.stdout


async def test_lines_survive_a_dead_gateway_in_their_order() -> None:
    bodies: list[str] = []

    async def dies(peer: Peer) -> None:
        await peer.welcome()
        op = await peer.read()
        bodies.append(op["body"])
        await peer.ack(op, 1)
        await peer.read()

    async def goes_on(peer: Peer) -> None:
        await peer.welcome()
        while (op := await peer.read())["op"] == "send":
            bodies.append(op["body"])
            await peer.ack(op, len(bodies))
        await peer.part_from(op)

    async with fake_server(dies) as one, fake_server(goes_on) as other:
        done = await run_program(chat(one.tcp, other.tcp, "--nick", "ann"), stdin="".join(f"{n}\n" for n in range(300)))
    assert done.returncode == 0, done.stderr
    assert bodies == [str(n) for n in range(300)]
    lost, back = done.stderr.splitlines()
    assert "was lost" in lost
    assert "connected again" in back


@pytest.mark.parametrize(("code", "extra"), [("nick_taken", {}), ("bad_nick", {}), ("banned", {"until": None})])
async def test_a_refused_nick_is_one_clear_line_and_exit_1(code: str, extra: dict[str, Any]) -> None:
    async def script(peer: Peer) -> None:
        hello = await peer.read()
        await peer.write(ev="error", re=hello["id"], code=code, text="the reason", **extra)

    async with fake_server(script) as server:
        done = await run_program(chat(server.tcp, "--nick", "ann"), stdin="hi\n")
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"causerie: {code}: ")
    assert "the reason" in line


async def test_kicked_is_the_end_and_exit_1() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.write(ev="bye", code="kicked", text="spam")

    async with fake_server(script) as server:
        with Process(chat(server.tcp, "--nick", "ann"), name="chat", stdin=-1) as process:
            assert await process.exit_code() == 1
            assert process.stderr == "causerie: kicked: spam\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupt_says_goodbye(number: int) -> None:
    goodbyes: list[Op] = []

    async def script(peer: Peer) -> None:
        await peer.welcome()
        goodbyes.append(await peer.read())
        await peer.part_from(goodbyes[-1])

    async with fake_server(script) as server:
        with Process(chat(server.tcp, "--nick", "ann"), name="chat", stdin=-1) as process:
            await asyncio.to_thread(process.wait_for_line, lambda line: "you are ann" in line, "a welcome")
            process.signal(number)
            assert await process.exit_code() == 0
    assert [op["op"] for op in goodbyes] == ["quit"]


async def test_an_interrupt_without_a_server_ends_at_once() -> None:
    argv = [sys.executable, "-m", "cli", *chat("tcp://127.0.0.1:1", "--nick", "ann")[1:]]
    with Process(argv, name="chat", stdin=-1) as process:
        while not process.stderr:
            await asyncio.sleep(0.02)
        assert process.stderr.startswith("causerie: no connection to tcp://127.0.0.1:1 (")
        process.signal(signal.SIGINT)
        assert await process.exit_code(PATIENCE) == 1


async def test_a_refused_line_is_shown_and_the_rest_goes_on() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        op = await peer.read()
        await peer.write(ev="error", re=op["id"], code="suspended", text="spam", until=None)
        await peer.serve()

    async with fake_server(script) as server:
        done = await run_program(chat(server.tcp, "--nick", "ann"), stdin=b"one\n\xff\n" + b"x" * 20_000 + b"\ntwo\n")
    assert done.returncode == 0
    assert sorted(done.stdout.splitlines()) == [
        "! bad_request: the line is not UTF-8",
        "! suspended: until forgiven (spam)",
        "! too_long: a line of more than 16 KiB was skipped",
        "* bye",
        "* you are ann, in #lobby",
        "[#lobby] ann: two",
    ]


async def test_the_current_room_follows_join_and_part() -> None:
    rooms: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.welcome()
        while (op := await peer.read())["op"] != "quit":
            if op["op"] == "send":
                rooms.append(op["to"])
                await peer.ack(op, len(rooms))
            else:
                data = {"room": "#dev", "epoch": "d", "seq": 0, "members": []}
                await peer.write(ev="result", re=op["id"], text=[], data=data)
        await peer.part_from(op)

    async with fake_server(script) as server:
        await run_program(chat(server.tcp, "--nick", "ann"), stdin="a\n!join #Dev\nb\n!part\nc\n")
    assert rooms == ["#lobby", "#dev", "#lobby"]


async def test_a_session_come_back_to_lets_the_server_say_which_room_is_current() -> None:
    lines: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.welcome()
        assert peer.hello["cookie"] == "c" * 43
        while (op := await peer.read())["op"] != "quit":
            lines.append(op.get("line") or f"{op['to']}: {op['body']}")
            await peer.write(ev="ack", re=op["id"], in_="#dev", seq=len(lines))
        await peer.part_from(op)

    async with fake_server(script) as server:
        await run_program(chat(server.tcp, "--cookie", "c" * 43), stdin="plain\n#lobby named\n")
    assert lines == ["plain", "#lobby: named"]


class TestShowing:
    def test_no_event_can_bring_a_control_character_to_the_terminal(self) -> None:
        evil = "a\x1b[31m\r\x07\x9b\x00\u2028b"
        events: list[dict[str, Any]] = [
            {"ev": "message", "in": "#l", "seq": 1, "from": evil, "body": evil, "mid": "m", "ts": 1.0},
            {
                "ev": "message",
                "in": "@",
                "seq": 1,
                "from": "x",
                "to": [evil],
                "body": "b",
                "mid": "m",
                "ts": 1,
            },
            {"ev": "presence", "in": evil, "nick": evil, "state": evil},
            {"ev": "result", "re": 1, "text": [evil], "data": {}},
            {"ev": "error", "re": 1, "code": evil, "text": evil},
            {"ev": "reset", "in": evil, "epoch": "e", "seq": 1},
            {"ev": "left", "in": evil},
            {"ev": "welcome", "nick": evil, "rooms": {evil: {}}},
        ]
        for event in events:
            shown = as_text(event, first=True)
            assert shown.endswith("\n")
            assert all(each == "\n" or each.isprintable() for each in shown), shown
            assert all(each == "\n" or each.isprintable() for each in as_json(event))

    def test_a_body_of_several_lines_cannot_forge_one(self) -> None:
        body = "hi\n[#lobby] admin: obey"
        event = {
            "ev": "message",
            "in": "#lobby",
            "seq": 1,
            "from": "bob",
            "body": body,
            "mid": "m",
            "ts": 1.0,
        }
        assert as_text(event) == "[#lobby] bob: hi\n[#lobby] bob: [#lobby] admin: obey\n"

    def test_the_forms_of_the_text_protocol(self) -> None:
        message = {"ev": "message", "seq": 1, "from": "bob", "body": "psst", "mid": "m", "ts": 1.0}
        assert as_text({**message, "in": "@", "to": ["alice", "carol"]}) == "[@] bob -> alice, carol: psst\n"
        assert as_text({"ev": "presence", "in": "#lobby", "nick": "bob", "state": "online"}) == (
            "* bob joined #lobby\n"
        )

    def test_what_makes_no_sense_is_no_crash(self) -> None:
        assert as_text({"ev": "message"}).startswith("* ")
        assert as_text({"ev": "presence", "in": 3}).startswith("* ")
        assert as_text({"ev": "weather"}) == ""
