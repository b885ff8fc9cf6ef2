"""The service on a real store: who may do what, what is written down, what others get to see."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from pydantic import SecretStr

from causerie.commands import Actor, Reply, parse
from causerie.commands.table import Call, Say
from causerie.errors import Refused
from causerie.model import Mids, Origin, Post, new_sid
from causerie.rights import digest
from causerie.service import Service
from causerie.settings import Settings
from causerie.store import Store
from tests.support import Store as Valkey
from tests.support.words import new_nick, new_room, new_word

TOKEN = "the-token"


class Bench:
    """A service with people who have sessions but no connections."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store = store
        self.service = Service(store, settings)
        self.admin = Actor.operator("admin", "192.0.2.1")
        self.mids = Mids()

    async def person(self, nick: str | None = None, *rooms: str, address: str = "192.0.2.7") -> Actor:
        """Somebody in #lobby and these rooms; the last is current."""
        attached = await self.store.sessions.create(
            nick or new_nick(), digest(new_word()), "", "g-test", address, sid=new_sid()
        )
        actor = Actor.of(attached.session, "#lobby", address=address)
        await self.service.join(actor, "#lobby")
        for room in rooms:
            await self.type(actor, f"!join {room}")
        return actor

    async def type(self, actor: Actor, line: str, id_: int | None = None) -> Reply:
        """What the gateway does with a line that is a command."""
        call = parse(line, actor.current)
        assert isinstance(call, Call), f"{line} posts"
        reply = await self.service.execute(actor, call, id_)
        actor.current = reply.current or actor.current
        if reply.admin is not None:
            actor.admin = reply.admin
        return reply

    async def refused(self, actor: Actor, line: str, code: str) -> Refused:
        with pytest.raises(Refused) as caught:
            await self.type(actor, line)
        assert caught.value.code == code, caught.value.text
        return caught.value

    async def say(self, actor: Actor, room: str, body: str) -> None:
        """Post as the gateway would; raises what the store says."""
        assert actor.session is not None
        said = parse(f"{room} {body}", room)
        assert isinstance(said, Say)
        post = Post(actor.session.origin, actor.name, None, said.kind, said.body, self.mids.next())
        (outcome,) = await self.store.logs.append(room, [post])
        if outcome.error:
            raise outcome.error

    async def said_in(self, room: str) -> list[dict[str, Any]]:
        return [msgspec.json.decode(e.line) for e in await self.store.logs.read_before(room, None, 100)]

    async def audited(self, nick: str) -> list[tuple[str, str, str, str]]:
        entries, _ = await self.service.audit(self.admin, None, 100)
        return [(e.who, e.what, e.why, e.room) for e in reversed(entries) if e.whom == nick]


@pytest_asyncio.fixture
async def bench(store: Valkey) -> AsyncIterator[Bench]:
    settings = Settings(redis_url=store.url, namespace=new_word("t"), admin_token=TOKEN)
    opened = await Store.open(settings)
    yield Bench(opened, settings)
    await opened.close()


async def test_list_is_a_line_a_person(bench: Bench) -> None:
    """“`!list` answers one line a person (nick, state, flags) and data {"sessions":[...]}”."""
    alice, bob = await bench.person("alice"), await bench.person("bob")
    await bench.type(await _admin(bench), "!suspend bob")
    reply = await bench.type(alice, "!list")
    assert [line for line in reply.text if line.split()[0] in {"alice", "bob"}] == [
        "alice online",
        "bob online suspended",
    ]
    listed = msgspec.json.decode(msgspec.json.encode(reply.data))["sessions"]
    assert {"nick": bob.name, "state": "online", "flags": ["suspended"]} in listed


async def _admin(bench: Bench, *rooms: str) -> Actor:
    actor = await bench.person(None, *rooms)
    await bench.type(actor, f"!admin {TOKEN}")
    return actor


async def test_list_of_a_room_that_is_not(bench: Bench) -> None:
    await bench.refused(await bench.person(), f"!list {new_room()}", "no_such_room")


async def test_join_says_where_the_room_stands(bench: Bench) -> None:
    room = new_room()
    alice = await bench.person()
    reply = await bench.type(alice, f"!join {room}")
    assert reply.joined is not None
    assert reply.current == room
    assert reply.data["room"] == room
    assert reply.data["seq"] == reply.joined[1].seq == 0
    assert [(one.nick, one.flags) for one in reply.data["members"]] == [(alice.name, [])]


async def test_part_of_the_current_room_leads_to_the_lobby(bench: Bench) -> None:
    room = new_room()
    alice = await bench.person(None, room)
    reply = await bench.type(alice, "!part")
    assert (reply.left, reply.current) == (room, "#lobby")
    await bench.refused(alice, f"!part {room}", "not_joined")


async def test_topic_is_posted_once_and_kept(bench: Bench) -> None:
    room = new_room()
    alice = await bench.person(None, room)
    for _ in range(2):
        await bench.type(alice, "!topic all about tests")
    assert [(m["kind"], m["from"], m["body"]) for m in await bench.said_in(room)] == [
        ("system", alice.name, "set the topic: all about tests")
    ]
    assert (await bench.type(alice, "!topic")).data == {"topic": "all about tests"}


async def test_topic_by_one_outside(bench: Bench) -> None:
    room = new_room()
    await bench.person(None, room)
    outsider = await bench.person()
    outsider.current = room
    await bench.refused(outsider, "!topic mine now", "not_joined")
    assert await bench.said_in(room) == []


async def test_history_is_for_members(bench: Bench) -> None:
    room = new_room()
    alice, bob = await bench.person(None, room), await bench.person()
    for n in range(4):
        await bench.say(alice, room, f"line {n}")
    reply = await bench.service.history(alice, room, 4, 2)
    assert [m["body"] for m in msgspec.json.decode(msgspec.json.encode(reply.data))["messages"]] == [
        "line 1",
        "line 2",
    ]
    assert (await bench.type(alice, "!history 1")).text[0].endswith(f"{alice.name}: line 3")
    with pytest.raises(Refused, match="not in"):
        await bench.service.history(bob, room, None, 5)


async def test_history_is_bounded_in_bytes(bench: Bench) -> None:
    room = new_room()
    alice = await bench.person(None, room)
    assert alice.session is not None
    posts = [Post(alice.session.origin, "a", None, "message", "x" * 4096, bench.mids.next()) for _ in range(300)]
    await bench.store.logs.append(room, posts)
    messages = (await bench.service.history(alice, room, None, 1000)).data["messages"]
    assert 200 < len(messages) < 256
    assert msgspec.json.decode(messages[-1])["seq"] == 300


@pytest.mark.parametrize("scope", ["", "#room "])
async def test_moderators_rights_end_at_their_room(bench: Bench, scope: str) -> None:
    room = new_room()
    owner, bob = await bench.person(None, room), await bench.person(None, room)
    scope = scope.replace("#room", room)
    await bench.refused(bob, f"!suspend {scope}{owner.name}", "denied")
    await bench.type(owner, f"!suspend {scope}{bob.name} 10m loud")
    with pytest.raises(Refused):
        await bench.say(bob, room, "x")
    await bench.say(bob, "#lobby", "x")
    await bench.refused(owner, f"!suspend #lobby {bob.name}", "denied")
    await bench.refused(owner, "!ban 192.0.2.7", "denied")
    await bench.type(owner, f"!forgive {bob.name}")
    await bench.say(bob, room, "free")
    assert await bench.audited(bob.name) == [
        (owner.name, "suspend", "loud", room),
        (owner.name, "forgive", "", room),
    ]


async def test_a_suspended_moderator_is_none_meanwhile(bench: Bench) -> None:
    room = new_room()
    owner, bob = await bench.person(None, room), await bench.person(None, room)
    await bench.service.suspend(bench.admin, [owner.name], 600, "", room)
    await bench.refused(owner, f"!kick {bob.name}", "suspended")


async def test_op_makes_a_moderator_and_the_lobby_has_none(bench: Bench) -> None:
    room = new_room()
    owner, bob = await bench.person(None, room), await bench.person(None, room)
    assert "!kick" not in " ".join((await bench.type(bob, "!help")).text)
    await bench.type(owner, f"!op {bob.name}")
    shown = " ".join((await bench.type(bob, "!help")).text)
    assert "!kick" in shown
    assert "!shutdown" not in shown
    await bench.type(bob, f"!deop {owner.name}")
    await bench.refused(owner, f"!kick {bob.name}", "denied")
    await bench.refused(await _admin(bench), f"!op {bob.name}", "denied")


async def test_nobody_but_an_admin_sanctions_an_admin(bench: Bench) -> None:
    room = new_room()
    owner, boss = await bench.person(None, room), await _admin(bench, room)
    bob = await bench.person(None, room)
    for line in ("!kick", "!suspend", "!ban"):
        await bench.refused(owner, f"@{bob.name} @{boss.name} {line}", "denied")
    await bench.say(bob, room, "nobody was touched, not even the first one named")
    await bench.type(await _admin(bench), f"!suspend {boss.name}")
    with pytest.raises(Refused):
        await bench.say(boss, room, "x")


async def test_while_suspended(bench: Bench) -> None:
    """“may use `!list`, `!help`, `!quit`; whatever would be seen by others is refused with `suspended`”."""
    room = new_room()
    bob = await bench.person("bob", room)
    sanction = (await bench.service.suspend(bench.admin, ["bob"], 600, "spam"))[1][0]
    seen = [
        "!nick rob",
        "!topic mine",
        "!part",
        f"!join {new_room()}",
        "!kick bob",
        "!op bob",
        "!forgive bob",
    ]
    for line in seen:
        error = await bench.refused(bob, line, "suspended")
        assert error.until == sanction.until, line
    for operation in (bench.service.join(bob, new_room()), bench.service.part(bob, room)):
        with pytest.raises(Refused, match="spam"):
            await operation
    for line in ("!list", "!help", "!rooms", "!topic", "!history", "!whois bob", "!cookie", "!quit"):
        await bench.type(bob, line)


async def test_kick_ends_the_session_or_leads_out_of_a_room(bench: Bench) -> None:
    room = new_room()
    owner, bob = await bench.person(None, room), await bench.person(None, room)
    await bench.type(owner, f"!kick {bob.name} enough")
    assert [one.nick for one in (await bench.service.people(room))[0]] == [owner.name]
    await bench.refused(owner, f"!kick {bob.name}", "no_such_nick")
    await bench.type(await _admin(bench), f"!kick {bob.name}")
    assert await bench.store.sessions.lookup(bob.name) is None
    assert [entry[1:] for entry in await bench.audited(bob.name)] == [
        ("kick", "enough", room),
        ("kick", "", ""),
    ]
    await bench.refused(await _admin(bench), f"!kick {bob.name}", "no_such_nick")


async def test_a_ban_holds_for_a_nick_that_nobody_has(bench: Bench) -> None:
    await bench.type(await _admin(bench), "!ban mallory 10m")
    with pytest.raises(Refused) as caught:
        await bench.person("mallory")
    assert caught.value.code == "banned"
    reply = await bench.type(await _admin(bench), "!forgive mallory")
    assert reply.text == ["mallory is forgiven"]
    await bench.person("mallory")


async def test_bans_come_in_pages(bench: Bench) -> None:
    await bench.service.ban(bench.admin, ["n1", "192.0.2.0/24", "n2", "n3"], None, "why")
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(2):
        page, cursor = await bench.service.bans(bench.admin, cursor, 2)
        seen += [one.subject for one in page]
    assert cursor is None
    assert sorted(seen) == ["192.0.2.0/24", "n1", "n2", "n3"]


async def test_admin_by_token(bench: Bench) -> None:
    """“Five wrong tokens or passwords a minute from one address are the limit, over all gateways”."""
    alice = await bench.person(None, address="192.0.2.99")
    await bench.refused(alice, "!bans", "denied")
    for _ in range(5):
        await bench.refused(alice, "!admin wrong", "denied")
    error = await bench.refused(alice, f"!admin {TOKEN}", "rate_limited")
    assert error.retry_after is not None
    assert 0 < error.retry_after <= 60
    await bench.refused(alice, "!admin wrong", "rate_limited")
    assert (await bench.type(await bench.person(), f"!admin {TOKEN}")).admin is True


async def test_an_earlier_token_makes_no_admin(bench: Bench) -> None:
    boss = await _admin(bench)
    assert boss.session is not None
    changed = bench.service.settings.model_copy(update={"admin_token": SecretStr("another-token")})
    for settings, admin in ((bench.service.settings, True), (changed, False)):
        back = (await bench.store.sessions.attach(boss.session.sid, "", "g-other", "192.0.2.7")).session
        await Service(bench.store, settings).rights.confirm(back)
        assert back.admin is admin
    again = (await bench.store.sessions.attach(boss.session.sid, "", "g-other", "192.0.2.7")).session
    assert again.admin is False


async def test_guesses_side_by_side_are_counted(bench: Bench) -> None:
    guesses = [bench.service.rights.check_token(f"wrong-{n}", "192.0.2.98") for n in range(20)]
    answers = await asyncio.gather(*guesses, return_exceptions=True)
    assert sum(answer is False for answer in answers) == 5
    assert sum(isinstance(answer, Refused) for answer in answers) == 15


async def test_announcement_reaches_everybody_once(bench: Bench) -> None:
    """In #lobby, and where somebody is who is not there; an id given again posts nothing more."""
    heard, unheard = new_room(), new_room()
    await bench.person(None, heard)
    hermit = await bench.person(None, unheard)
    await bench.type(hermit, "!part #lobby")
    boss = await _admin(bench)
    for _ in range(2):
        await bench.type(boss, "!announce it is late", 7)
    for room, times in (("#lobby", 1), (unheard, 1), (heard, 0)):
        assert [(m["kind"], m["body"]) for m in await bench.said_in(room)] == [("system", "it is late")] * times


async def test_a_bot_posts_once_for_a_key(bench: Bench) -> None:
    room = new_room()
    await bench.person(None, room)
    first = await bench.service.post(bench.admin, room, "bot", "hi", "key-1")
    again = await bench.service.post(bench.admin, room, "bot", "hi", "key-1")
    assert again == first._replace(duplicate=True)
    with pytest.raises(Refused) as caught:
        await bench.service.post(bench.admin, room, "bot", "other", "key-1")
    assert caught.value.code == "bad_request"
    await bench.service.post(bench.admin, room, "bot", "hi", "key-2")
    assert [m["seq"] for m in await bench.said_in(room)] == [1, 2]


async def test_a_bot_has_nobodys_nick(bench: Bench) -> None:
    alice = await bench.person()
    with pytest.raises(Refused) as caught:
        await bench.service.post(bench.admin, "#lobby", alice.name, "hi", None)
    assert caught.value.code == "nick_taken"
    with pytest.raises(Refused, match="no room"):
        await bench.service.post(bench.admin, new_room(), "bot", "hi", None)


async def test_a_new_cookie_voids_the_old_one(bench: Bench) -> None:
    alice = await bench.person()
    assert alice.session is not None
    one = (await bench.type(alice, "!cookie new")).cookie
    two = (await bench.type(alice, "!cookie new")).cookie
    assert one
    assert two
    assert await bench.store.sessions.find(digest(one)) is None
    assert await bench.store.sessions.find(digest(two)) == alice.session.sid
    assert (await bench.type(alice, "!cookie")).cookie is None


async def test_quit_ends_the_session(bench: Bench) -> None:
    alice = await bench.person()
    reply = await bench.type(alice, "!quit so long")
    assert reply.goodbye is not None
    assert reply.goodbye.code == "quit"
    assert await bench.store.sessions.lookup(alice.name) is None


async def test_whois_shows_the_address_to_admins_alone(bench: Bench) -> None:
    bob = await bench.person(None, address="192.0.2.55")
    line = f"!whois {bob.name}"
    assert "192.0.2.55" not in str(await bench.type(await bench.person(), line))
    assert "192.0.2.55" in str(await bench.type(await _admin(bench), line))
    assert bob.session is not None
    assert bob.session.sid not in str(await bench.type(await _admin(bench), line))


async def test_shutdown_is_told_to_all_gateways(bench: Bench) -> None:
    before = await bench.store.control.last_id()
    await bench.type(await _admin(bench), "!shutdown 5 for an update")
    (note,) = await bench.store.control.follow(before)
    assert (note.kind, note.data) == ("shutdown", {"grace": 5.0, "reason": "for an update"})
    entries, _ = await bench.service.audit(bench.admin, None, 1)
    assert (entries[0].what, entries[0].why) == ("shutdown", "for an update")


async def test_the_console_has_no_session(bench: Bench) -> None:
    console = Actor.operator("console")
    await bench.person("bob")
    for line in ("!nick x", f"!join {new_room()}", "!cookie new", "!admin x", "!quit", "!history"):
        await bench.refused(console, line, "bad_request")
    for line in ("!list", "!help", "!rooms", "!bans", "!audit", "!whois bob", "!suspend bob", "!topic"):
        await bench.type(console, line)


async def test_a_replaced_device_cannot_act(bench: Bench) -> None:
    alice = await bench.person()
    assert alice.session is not None
    await bench.store.sessions.attach(alice.session.sid, "", "g-other", "192.0.2.7")
    with pytest.raises(Exception, match="took over"):
        await bench.type(alice, f"!join {new_room()}")
    assert alice.session.origin == Origin(alice.session.sid, "", 1)
