"""docs/protocol.md: suspend, ban, kick, forgive by those “with the admin token, everywhere”, and what is written
of it.
"""

import asyncio
import itertools
import time
from typing import Any

import pytest
from websockets.exceptions import WebSocketException

from tests.support import JsonClient, People, eventually

_last_bytes = itertools.count(2)


def _address(third: int = 7) -> str:
    """An address of this machine that no other test connects from."""
    return f"127.11.{third}.{next(_last_bytes)}"


SPELLINGS = pytest.mark.parametrize("spelling", ["!{verb} {nick} {rest}", "@{nick} !{verb} {rest}"])


# Suspend.


@SPELLINGS
async def test_suspend(people: People, spelling: str) -> None:
    """“`@nick !ban ...` and `!ban nick ...` are the same”; “suspend: the person stays, reads and may use
    `!list`, `!help`, `!quit`; whatever would be seen by others is refused with `suspended`”.
    """
    room = people.room()
    admin = await people.admin(0, room=room)
    bob, carol = await people.enter("bob", 1), await people.enter("carol", 0)
    await bob.command(f"!join {room}")
    before = time.time()
    await admin.command(spelling.format(verb="suspend", nick=bob.nick, rest="10m spam"))
    for op, fields in (
        ("send", {"to": room, "body": "x"}),
        ("send", {"to": "#lobby", "body": "x"}),
        ("send", {"to": room, "body": "x", "kind": "action"}),
        ("send", {"to": f"@{carol.nick}", "body": "x"}),
        ("command", {"line": "x"}),
        ("command", {"line": "!me x"}),
        ("command", {"line": f"@{carol.nick} x"}),
        ("command", {"line": f"!nick {people.nick('other')}"}),
        ("command", {"line": "!topic x"}),
    ):
        error = await bob.refused("suspended", op, **fields)
        assert before + 590 < error["until"] < time.time() + 610
    await bob.command("!list")
    await bob.command("!help")
    await admin.say(room, "bob may read this")
    await bob.message("bob may read this")
    await admin.say(f"@{bob.nick}", "and this")
    await bob.message("and this")
    await bob.quit()


async def test_suspend_without_an_end(people: People) -> None:
    """“none = until forgiven”; “until: null when endless”."""
    admin, bob = await people.admin(0), await people.enter("bob", 1)
    await admin.command(f"!suspend {bob.nick}")
    error = await bob.refused("suspended", "send", to="#lobby", body="x")
    assert error["until"] is None
    await admin.command(f"!forgive {bob.nick}")
    await bob.say("#lobby", "free")


async def test_suspension_ends_by_itself(people: People) -> None:
    """A sanction with an end ends then."""
    admin, bob = await people.admin(0), await people.enter("bob", 1)
    await admin.command(f"!suspend {bob.nick} 1s short")
    until = (await bob.refused("suspended", "send", to="#lobby", body="x"))["until"]

    async def free() -> bool:
        answer = await bob.ask("send", to="#lobby", body="free again")
        return bool(answer["ev"] == "ack")

    await eventually(free, "the end of the suspension")
    assert time.time() >= until - 0.1


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7200), ("7d", 604_800)])
async def test_durations(people: People, text: str, seconds: int) -> None:
    """“Durations: `90s`, `10m`, `2h`, `7d`”."""
    admin, bob = await people.admin(0), await people.enter("bob", 1)
    await admin.command(f"!suspend {bob.nick} {text} because")
    until = (await bob.refused("suspended", "send", to="#lobby", body="x"))["until"]
    assert abs(until - time.time() - seconds) < 10


async def test_reason_without_a_duration(people: People) -> None:
    """“`[duration] [reason]`”: a first word that is no duration belongs to the reason."""
    admin, bob = await people.admin(0), await people.enter("bob", 1)
    await admin.command(f"!suspend {bob.nick} being rude")
    assert (await bob.refused("suspended", "send", to="#lobby", body="x"))["until"] is None
    (item,) = [item for item in await people.rest().items("/suspensions") if item["nick"] == bob.nick]
    assert item["reason"] == "being rude"


async def test_suspension_outlives_the_session(people: People) -> None:
    """“A sanction outlives the session and holds for the next one with that nick.”"""
    admin, bob = await people.admin(0), await people.enter("bob", 1)
    await admin.command(f"!suspend {bob.nick} 10m")
    await bob.quit()
    second = await people.connect(gateway=0)
    await second.hello(nick=bob.nick)
    await second.refused("suspended", "send", to="#lobby", body="x")
    await second.refused("suspended", "send", to=f"@{admin.nick}", body="x")


async def test_suspension_of_one_who_is_not_there(people: People) -> None:
    """“holds for the next one with that nick”, though nobody has it now."""
    admin, nick = await people.admin(0), people.nick("later")
    await admin.command(f"!suspend {nick} 10m")
    later = await people.enter(nick=nick, gateway=1)
    await later.refused("suspended", "send", to="#lobby", body="x")


async def test_suspension_holds_over_a_reconnect_and_new_rooms(people: People) -> None:
    """On any gateway, in any room, also in one joined afterwards."""
    admin, bob = await people.admin(0), await people.enter("bob", 1)
    await admin.command(f"!suspend {bob.nick} 10m")
    await bob.hang_up()
    again = await people.back(bob, 0)
    await again.refused("suspended", "send", to="#lobby", body="x")
    room = people.room()
    joined = await again.ask("join", room=room)
    if joined["ev"] == "result":
        await again.refused("suspended", "send", to=room, body="x")
    else:
        assert joined["code"] == "suspended"


async def test_rename_does_not_escape_a_suspension(people: People) -> None:
    """A sanction by REST under the nick of the moment: no renaming out of it."""
    admin, bob = await people.admin(0), await people.enter("bob", 1)
    await admin.command(f"!suspend {bob.nick}")
    await bob.refused("suspended", "command", line=f"!nick {people.nick('free')}")
    new = people.nick("robert")
    other = await people.enter("other", 1)
    await other.command(f"!nick {new}")
    await admin.command(f"!suspend {new}")
    await other.refused("suspended", "send", to="#lobby", body="x")


async def test_no_rename_into_a_banned_nick(people: People) -> None:
    """A banned nick is refused to a rename as to a `hello`."""
    admin, alice = await people.admin(0), await people.enter("alice", 1)
    nick = people.nick("banned")
    await admin.command(f"!ban {nick}")
    answer = await alice.ask("command", line=f"!nick {nick}", want="error")
    assert answer["code"] in {"banned", "denied", "nick_taken"}


async def test_not_one_more_line_gets_through(people: People) -> None:
    """“when a REST call or command has answered, not one more line gets through”: against a full pipeline."""
    room = people.room()
    watcher = await people.enter("watcher", 0, room=room)
    bob = await people.enter("bob", 1, room=room)
    phone = await people.back(bob, 0, device="phone", resume={})
    rest = people.rest(0)
    for turn in range(3):
        ops = bob.sends(room, (f"{turn}/{n}" for n in range(250)))
        flood = asyncio.create_task(bob.push_all(ops))
        other = asyncio.create_task(phone.push_all([{**op, "body": f"p{op['body']}"} for op in ops]))
        await watcher.expect("message", in_=room)
        await rest.post("/suspensions", {"nick": bob.nick, "duration": "10m", "reason": "flood"})
        head = (await watcher.ask("history", of=room, limit=1, want="result"))["data"]["messages"][0]["seq"]
        await flood
        await other
        answers = [*await bob.answers(ops), *await phone.answers(ops)]
        acked = [answer["seq"] for answer in answers if answer["ev"] == "ack"]
        assert all(seq <= head for seq in acked), (head, max(acked))
        assert {answer["code"] for answer in answers if answer["ev"] == "error"} <= {"suspended"}
        await bob.refused("suspended", "send", to=room, body="after")
        last = (await watcher.ask("history", of=room, limit=1, want="result"))["data"]["messages"][0]["seq"]
        assert last == head, "a line came in after the suspension was answered"
        await rest.delete(f"/suspensions/{bob.nick}")
        await watcher.caught_up(room)


async def test_the_very_next_line_is_refused_on_any_gateway(people: People) -> None:
    """“when a REST call or command has answered, not one more line gets through”: rooms and direct
    messages, many times over.
    """
    room = people.room()
    bob = await people.enter("bob", 1, room=room)
    rest = people.rest(0)
    for _ in range(10):
        await rest.post("/suspensions", {"nick": bob.nick})
        await bob.refused("suspended", "send", to=room, body="x")
        await bob.refused("suspended", "send", to=f"@{bob.nick}", body="x")
        await rest.delete(f"/suspensions/{bob.nick}")
        await bob.say(room, "free")
        await bob.say(f"@{bob.nick}", "free")


# Ban.


@SPELLINGS
async def test_ban(people: People, spelling: str) -> None:
    """“ban: every connection of that person ends with `bye banned`, the cookie is void, and a new `hello`
    with that nick is refused with `banned`”; “A `hello` refused as `banned` gets the error and the connection
    closes.”
    """
    room = people.room()
    admin = await people.admin(0)
    watcher = await people.enter("watcher", 0, room=room)
    phone = await people.enter("bob", 0, device="phone", room=room)
    laptop = await people.back(phone, 1, device="laptop", transport="ws", resume={})
    before = time.time()
    await admin.command(spelling.format(verb="ban", nick=phone.nick, rest="10m spam"))
    for device in (phone, laptop):
        await device.ended("banned")
    await watcher.expect("presence", in_=room, nick=phone.nick, state="gone")
    for gateway in (0, 1):
        for fields in ({"nick": phone.nick}, {"nick": phone.nick.upper()}):
            fresh = await people.connect(gateway=gateway)
            error = await fresh.refused("banned", "hello", **fields)
            assert before + 590 < error["until"] < time.time() + 610
            await fresh.ended()
        with_cookie = await people.connect(gateway=gateway)
        answer = await with_cookie.ask("hello", cookie=phone.cookie, want="error")
        assert answer["code"] in {"bad_cookie", "banned"}
    await admin.command(f"!forgive {phone.nick}")
    old = await people.connect()
    await old.refused("bad_cookie", "hello", cookie=phone.cookie)
    await old.hello(nick=phone.nick)


async def test_ban_reaches_text_clients(people: People) -> None:
    """`!! bye banned`, and `! banned: ...` to the nick afterwards."""
    admin, bob = await people.admin(0), await people.text("bob", 1)
    await admin.command(f"!ban {bob.nick}")
    await bob.ended("banned")
    later = await people.connect_text()
    await later.send(bob.nick)
    await later.expect(r"! banned: .+")
    await later.ended()


async def test_ban_of_one_who_is_not_there(people: People) -> None:
    """A nick may be banned before anybody has it."""
    admin, nick = await people.admin(0), people.nick("never")
    await admin.command(f"!ban {nick}")
    client = await people.connect(gateway=1)
    assert (await client.refused("banned", "hello", nick=nick))["until"] is None
    await client.ended()
    await admin.command(f"!forgive {nick}")
    await (await people.connect()).hello(nick=nick)


async def test_ban_of_one_who_is_away(people: People) -> None:
    """The cookie of one who is away is void too."""
    admin, bob = await people.admin(0), await people.enter("bob", 1)
    await bob.hang_up()
    await admin.command(f"!ban {bob.nick} 1s")

    async def ended() -> bool:
        client = await people.connect()
        return bool((await client.ask("hello", nick=bob.nick))["ev"] == "welcome")

    await eventually(ended, "the ban's end")
    old = await people.connect(gateway=1)
    await old.refused("bad_cookie", "hello", cookie=bob.cookie)


async def test_ban_of_an_address(people: People) -> None:
    """“A ban of an address ends and refuses the connections from there, voids no cookie, and never blocks
    REST calls that bear the token.”
    """
    admin, address = await people.admin(0), _address()
    here = await people.enter("here", 0, source=address)
    text = await people.text("text", 1, source=address)
    socket = await people.enter("socket", 1, source=address, transport="ws")
    elsewhere = await people.enter("elsewhere", 0)
    await admin.command(f"!ban {address} 10m spam")
    for client in (here, socket):
        await client.ended("banned")
    await text.ended("banned")
    await elsewhere.settled()
    for gateway in (0, 1):
        await _refused_from(people, address, gateway)
    again = await people.back(here, 1)
    assert again.session == here.session
    rest = people.rest(0, source=address)
    assert any(item["subject"] == address for item in await rest.items("/bans"))
    await admin.command(f"!forgive {address}")
    await people.enter("free", 1, source=address)


async def test_ban_of_an_address_ends_by_itself(people: People) -> None:
    """A sanction with an end ends then, on the gateway that gave it and on all others."""
    address = _address()
    item = await people.rest(0).post("/bans", {"subject": address, "duration": 1})
    for gateway in (0, 1):
        await _refused_from(people, address, gateway)
    for gateway in (0, 1):

        async def free(gateway: int = gateway) -> bool:
            client = await people.connect(gateway=gateway, source=address)
            return bool((await client.ask("hello", nick=people.nick()))["ev"] == "welcome")

        await eventually(free, "the end of the ban")
    assert time.time() >= item["until"] - 0.1


async def test_ban_of_an_address_in_the_form_of_ipv6(people: People) -> None:
    """An address has one meaning, however it is written."""
    address = _address()
    item = await people.rest(0).post("/bans", {"subject": f"::ffff:{address}", "duration": "10m"})
    assert item["subject"] == address
    await _refused_from(people, address, 1)
    await people.rest(0).delete(f"/bans/::ffff:{address}")
    await people.enter("free", 1, source=address)


async def _refused_from(people: People, address: str, gateway: int) -> None:
    """Whoever connects from there is told `banned`, or not let in at all, and the connection ends."""
    for transport in ("tcp", "ws"):
        try:
            client = await people.connect(gateway=gateway, source=address, transport=transport)
        except (OSError, WebSocketException):
            continue
        try:
            await client.op("hello", nick=people.nick())
        except (OSError, WebSocketException):
            await client.ended()
            continue
        answer = await client.expect(lambda event: event["ev"] in {"error", "bye", "welcome"})
        assert answer.get("code") == "banned", answer
        await client.ended()


async def test_ban_of_a_network(people: People) -> None:
    """“`!ban nick|address|cidr`”."""
    admin = await people.admin(0)
    inside = await people.enter("inside", 1, source=_address(77))
    outside = await people.enter("outside", 1, source=_address(78))
    await admin.command("!ban 127.11.77.0/24 10m")
    await inside.ended("banned")
    await _refused_from(people, _address(77), 0)
    await outside.settled()
    await admin.command("!forgive 127.11.77.0/24")
    await people.enter("free", 0, source=_address(77))


@pytest.mark.parametrize("subject", ["127.0.0.0/99", "300.1.1.1/8", "a b", "#lobby", "1.2.3.4/x"])
async def test_ban_of_nonsense(people: People, subject: str) -> None:
    """What is neither nick nor address nor network is refused."""
    admin = await people.admin(0)
    answer = await admin.command(f"!ban {subject}", want=None)
    if subject == "a b":
        await admin.command("!forgive a")
        return
    assert answer["ev"] == "error"
    assert answer["code"] in {"bad_request", "bad_nick", "no_such_nick"}


async def test_bans_are_listed(people: People) -> None:
    """“`!bans`”: nicks, addresses and networks, with end and reason."""
    admin, nick, address = await people.admin(0), people.nick("listed"), _address()
    await admin.command(f"!ban {nick} 10m one reason")
    await admin.command(f"!ban {address} another reason")
    text = "\n".join((await admin.command("!bans"))["text"])
    for part in (nick, address, "one reason", "another reason"):
        assert part in text
    await admin.command(f"!forgive {nick}")
    await admin.command(f"!forgive {address}")
    text = "\n".join((await admin.command("!bans"))["text"])
    assert nick not in text
    assert address not in text


# Kick, forgive, admins.


@SPELLINGS
async def test_kick_from_the_chat(people: People, spelling: str) -> None:
    """“from the chat: the session ends, the cookie is void”; `bye kicked`; the nick is free."""
    room = people.room()
    admin, watcher = await people.admin(0), await people.enter("watcher", 0, room=room)
    bob = await people.enter("bob", 1, room=room)
    await admin.command(spelling.format(verb="kick", nick=bob.nick, rest="enough"))
    await bob.ended("kicked")
    await watcher.expect("presence", in_=room, nick=bob.nick, state="gone")
    again = await people.connect()
    await again.refused("bad_cookie", "hello", cookie=bob.cookie)
    await again.hello(nick=bob.nick)


async def test_kick_of_nobody(people: People) -> None:
    """`no_such_nick`."""
    admin = await people.admin()
    await admin.refused("no_such_nick", "command", line=f"!kick {people.nick('nobody')}")


async def test_forgive_lifts_both(people: People) -> None:
    """“forgive lifts suspension and ban.”"""
    admin, nick = await people.admin(0), people.nick("both")
    await admin.command(f"!suspend {nick}")
    await admin.command(f"!ban {nick}")
    await admin.command(f"@{nick} !forgive")
    free = await people.enter(nick=nick, gateway=1)
    await free.say("#lobby", "free")


async def test_sanction_again_replaces_the_earlier(people: People) -> None:
    """The latest word counts: longer, shorter, after a forgiveness."""
    admin, bob = await people.admin(0), await people.enter("bob", 1)
    for duration, seconds in (("10m", 600), ("2h", 7200), ("90s", 90)):
        await admin.command(f"!suspend {bob.nick} {duration}")
        until = (await bob.refused("suspended", "send", to="#lobby", body="x"))["until"]
        assert abs(until - time.time() - seconds) < 10


async def test_suspended_person_is_no_admin_by_magic(people: People) -> None:
    """“Nobody but an admin can sanction an admin”: an admin can, and then it holds."""
    one, two = await people.admin(0), await people.admin(1)
    await one.command(f"!suspend {two.nick} 10m")
    await two.refused("suspended", "send", to="#lobby", body="x")


# Audit.


async def test_audit(people: People) -> None:
    """“Each is written to the audit log: who, whom, what, why, until when.”"""
    admin = await people.admin(0)
    bob = await people.enter("bob", 1)
    nick = people.nick("other")
    await admin.command(f"!suspend {bob.nick} 10m spamming a lot")
    await admin.command(f"!forgive {bob.nick}")
    await admin.command(f"!ban {nick} for ever")
    await admin.command(f"!kick {bob.nick} enough")
    rest = people.rest(1)
    mine = [item for item in await rest.items("/audit") if item["whom"] in {bob.nick, nick}]
    by_what: dict[str, dict[str, Any]] = {item["what"]: item for item in mine}
    assert set(by_what) == {"suspend", "forgive", "ban", "kick"}
    for item in mine:
        assert set(item) >= {"id", "ts", "who", "what", "whom", "why", "until"}
        assert item["who"] == admin.nick
        assert abs(item["ts"] - time.time()) < 30
    assert by_what["suspend"]["why"] == "spamming a lot"
    assert abs(by_what["suspend"]["until"] - time.time() - 600) < 30
    assert (by_what["ban"]["why"], by_what["ban"]["until"]) == ("for ever", None)
    assert by_what["kick"]["why"] == "enough"
    text = "\n".join((await admin.command("!audit 20"))["text"])
    assert bob.nick in text
    assert "spamming a lot" in text


async def test_refused_sanctions_do_nothing(people: People) -> None:
    """Who may not, does not: no ban, no audit entry that says so, no word to the person."""
    alice, bob = await people.enter("alice"), await people.enter("bob", 1)
    await alice.refused("denied", "command", line=f"!ban {bob.nick}")
    await alice.refused("denied", "command", line=f"@{bob.nick} !ban")
    await bob.say("#lobby", "still here")
    rest = people.rest()
    assert not [item for item in await rest.items("/bans") if item["subject"] == bob.nick]


# Wrong tokens.


async def _guess(client: JsonClient, token: str) -> dict[str, Any]:
    return await client.ask("command", line=f"!admin {token}")


async def test_wrong_token_is_denied(people: People) -> None:
    """A wrong token is `denied`, in `!admin` and in `hello`, and gives nothing."""
    address = _address(99)
    client = await people.enter("guesser", source=address)
    await client.refused("denied", "command", line="!admin wrong")
    await client.refused("denied", "command", line="!bans")
    other = await people.connect(source=address)
    await other.refused("denied", "hello", nick=people.nick(), admin_token="wrong")


async def test_five_wrong_tokens_a_minute_over_all_gateways(people: People) -> None:
    """“Five wrong tokens or passwords a minute from one address are the limit, over all gateways.”"""
    address = _address(98)
    guessers = [await people.enter("guesser", n, source=address) for n in (0, 1)]
    for attempt in range(5):
        answer = await _guess(guessers[attempt % 2], f"wrong-{attempt}")
        assert answer["code"] == "denied"
    for guesser in guessers:
        answer = await _guess(guesser, people.chat.admin_token)
        assert answer["ev"] == "error", "past the limit even the right token must say nothing"
        assert answer["code"] in {"denied", "rate_limited", "locked"}
    hello = await people.connect(source=address)
    answer = await hello.ask("hello", nick=people.nick(), admin_token=people.chat.admin_token)
    assert answer["ev"] == "error"
    elsewhere = await people.enter("elsewhere", source=_address(97))
    assert (await _guess(elsewhere, people.chat.admin_token))["ev"] == "result"


async def test_wrong_tokens_of_rest_count_too(people: People) -> None:
    """“over all gateways”, by whatever door: REST guesses use up the same five."""
    address = _address(96)
    wrong = people.rest(0, token="wrong", source=address)
    for _ in range(5):
        assert (await wrong.call("GET", "/bans")).status_code == 401
    assert (await wrong.call("GET", "/bans")).status_code in {401, 429}
    client = await people.enter("guesser", 1, source=address)
    assert (await _guess(client, people.chat.admin_token))["ev"] == "error"
