"""docs/protocol.md: commands “for a room's moderators, in that room”."""

import asyncio

import pytest

from tests.support import JsonClient, People


async def _room(people: People) -> tuple[str, JsonClient, JsonClient, JsonClient]:
    """A room, who made it, and two members; it is the current room of all."""
    room = people.room()
    owner, bob, carol = [await people.enter(name, n % 2) for n, name in enumerate(("owner", "bob", "carol"))]
    for who in (owner, bob, carol):
        await who.command(f"!join {room}")
    return room, owner, bob, carol


async def test_creator_is_the_first_moderator(people: People) -> None:
    """“Who creates a room by joining it first is its first moderator”; others are `denied`."""
    _, owner, bob, carol = await _room(people)
    for line in (f"!kick {carol.nick}", f"!suspend {carol.nick}", f"!ban {carol.nick}", f"!op {bob.nick}"):
        await bob.refused("denied", "command", line=line)
    await owner.command(f"!suspend {carol.nick} 10m")
    await owner.command(f"!forgive {carol.nick}")


@pytest.mark.parametrize("spelling", ["!kick {} enough", "@{} !kick enough"])
async def test_kick_from_a_room(people: People, spelling: str) -> None:
    """“kick from a room: out of it (`presence gone`)”; the session and its other rooms stay."""
    room, owner, bob, carol = await _room(people)
    await owner.command(spelling.format(bob.nick))
    await carol.expect("presence", in_=room, nick=bob.nick, state="gone")
    await bob.refused("not_joined", "send", to=room, body="x")
    await bob.say("#lobby", "still in the chat")
    bob.ledger.left(room)
    await bob.join(room)
    await bob.say(room, "and back")


async def test_kicked_person_is_told(people: People) -> None:
    """One thrown out of a room learns it: `presence gone` of oneself, or a notice."""
    room, owner, bob, _ = await _room(people)
    await owner.command(f"!kick {bob.nick} enough")
    await bob.expect("presence", in_=room, nick=bob.nick, state="gone")


async def test_suspend_in_a_room_is_for_that_room_alone(people: People) -> None:
    """“`!suspend nick ...` ... (these three for that room alone)”."""
    room, owner, bob, carol = await _room(people)
    await owner.command(f"!suspend {bob.nick} 10m loud")
    error = await bob.refused("suspended", "send", to=room, body="x")
    assert error["until"] is not None
    await bob.say("#lobby", "elsewhere I may")
    await bob.say(f"@{carol.nick}", "and in private")
    await owner.say(room, "he may read")
    await bob.message("he may read")
    await owner.command(f"@{bob.nick} !forgive")
    await bob.say(room, "free")


async def test_suspension_in_a_room_survives_leaving_it(people: People) -> None:
    """To part and join again lifts nothing."""
    room, owner, bob, _ = await _room(people)
    await owner.command(f"!suspend {bob.nick} 10m")
    await bob.part(room)
    await bob.join(room)
    await bob.refused("suspended", "send", to=room, body="x")


async def test_ban_from_a_room(people: People) -> None:
    """“From a room: out of it, and `join` is refused.” The connection and the rest of the chat stay."""
    room, owner, bob, carol = await _room(people)
    await owner.command(f"!ban {bob.nick} 10m loud")
    await carol.expect("presence", in_=room, nick=bob.nick, state="gone")
    await bob.refused("not_joined", "send", to=room, body="x")
    await bob.refused("banned", "join", room=room)
    await bob.refused("banned", "command", line=f"!join {room}")
    await bob.say("#lobby", "still in the chat")
    await owner.command(f"!forgive {bob.nick}")
    bob.ledger.left(room)
    await bob.join(room)


async def test_ban_from_a_room_holds_for_the_next_session(people: People) -> None:
    """“A sanction outlives the session and holds for the next one with that nick.”"""
    room, owner, bob, _ = await _room(people)
    await owner.command(f"!ban {bob.nick}")
    await bob.quit()
    second = await people.connect(gateway=1)
    await second.hello(nick=bob.nick)
    await second.refused("banned", "join", room=room)


async def test_op_and_deop(people: People) -> None:
    """“`!op nick` `!deop nick`”."""
    _, owner, bob, carol = await _room(people)
    await bob.refused("denied", "command", line=f"!kick {carol.nick}")
    await owner.command(f"!op {bob.nick}")
    await bob.command(f"!suspend {carol.nick} 10m")
    await bob.command(f"!forgive {carol.nick}")
    await owner.command(f"!suspend {bob.nick} 10m loud")
    error = await bob.refused("suspended", "command", line=f"!kick {carol.nick}")
    assert (error["text"], error["until"] is None) == ("loud", False)
    await owner.command(f"!forgive {bob.nick}")
    await owner.command(f"@{bob.nick} !deop")
    await bob.refused("denied", "command", line=f"!suspend {carol.nick}")


async def test_moderator_of_one_room_is_none_elsewhere(people: People) -> None:
    """“in that room”: not in another, not in the lobby, not over the chat."""
    _, owner, bob, _ = await _room(people)
    other = people.room()
    await bob.command(f"!join {other}")
    await owner.command(f"!join {other}")
    await owner.refused("denied", "command", line=f"!kick {bob.nick}")
    await owner.command("!join #lobby")
    await owner.refused("denied", "command", line=f"!kick {bob.nick}")
    await owner.refused("denied", "command", line=f"!ban {bob.nick}")
    await owner.refused("denied", "command", line="!ban 127.11.50.1")


async def test_lobby_has_no_moderators(people: People) -> None:
    """“`#lobby` has none but admins”: not even who came first."""
    alice, bob = await people.enter("alice"), await people.enter("bob")
    await alice.command("!join #lobby")
    await alice.refused("denied", "command", line=f"!kick {bob.nick}")
    await alice.refused("denied", "command", line=f"!op {alice.nick}")


async def test_nobody_but_an_admin_can_sanction_an_admin(people: People) -> None:
    """“Nobody but an admin can sanction an admin.”"""
    room, owner, _, _ = await _room(people)
    admin = await people.admin(1, room=room)
    for verb in ("kick", "suspend", "ban"):
        await owner.refused("denied", "command", line=f"!{verb} {admin.nick}")
    await admin.say(room, "untouched")


async def test_admin_by_command_is_protected_too(people: People) -> None:
    """The same for one who became an admin by `!admin TOKEN`."""
    room, owner, bob, _ = await _room(people)
    await bob.command(f"!admin {people.chat.admin_token}")
    await owner.refused("denied", "command", line=f"!kick {bob.nick}")
    await bob.say(room, "untouched")


async def test_admin_sanctions_are_for_the_whole_chat(people: People) -> None:
    """“with the admin token, everywhere ... all of these for the whole chat”."""
    room, _, bob, _ = await _room(people)
    admin = await people.admin(1)
    await admin.command(f"!join {room}")
    await admin.command(f"!suspend {bob.nick} 10m")
    await bob.refused("suspended", "send", to=room, body="x")
    await bob.refused("suspended", "send", to="#lobby", body="x")


async def test_room_sanctions_are_audited(people: People) -> None:
    """“Each is written to the audit log”: those of a room as well."""
    _, owner, bob, _ = await _room(people)
    await owner.command(f"!suspend {bob.nick} 10m loud music")
    items = [item for item in await people.rest().items("/audit") if item["whom"] == bob.nick]
    assert [(item["who"], item["why"]) for item in items] == [(owner.nick, "loud music")]


async def test_one_who_is_not_in_the_room(people: People) -> None:
    """Who is not there cannot be kicked from it."""
    _, owner, _, _ = await _room(people)
    outsider = await people.enter("outsider")
    answer = await owner.ask("command", line=f"!kick {outsider.nick}", want="error")
    assert answer["code"] in {"no_such_nick", "not_joined"}
    await owner.refused("no_such_nick", "command", line=f"!kick {people.nick('nobody')}")


async def test_a_room_has_one_creator(people: People) -> None:
    """“Who creates a room by joining it first is its first moderator”: of many that join at once, one."""
    room, target = people.room(), await people.enter("target")
    crowd = [await people.enter("one", n % 2) for n in range(4)]
    await asyncio.gather(*(who.command(f"!join {room}") for who in crowd))
    await target.join(room)
    answers = [await who.ask("command", line=f"!op {who.nick}") for who in crowd]
    assert sorted(answer["ev"] for answer in answers) == ["error"] * 3 + ["result"]
