"""docs/games.md and docs/protocol.md: the game, played over JSON and text on two gateways."""

import asyncio
import json

import pytest

from tests.support import People
from tests.support.killer import WORDS, Killer, told


async def test_a_whole_game(people: People) -> None:
    """“Whoever makes its target write that word in the room ... kills it”; “the last one alive wins”."""
    game = await Killer.begin(people, 4)
    alive, killed = set(game.players), []
    while len(alive) > 1:
        target = min(alive)
        hunter = game.hunter_of(target)
        inherited, (_, word) = game.missions()[target], game.missions()[hunter]
        await game.players[target].say(game.room, f"Well, {word.upper()}!")
        event = await game.died(target)
        assert (event["from"], event["kind"]) == ("game", "game")
        assert target in event["body"]
        assert word in event["body"]
        alive.discard(target)
        killed.append((hunter, target))
        if len(alive) > 1:
            assert await game.mission(hunter, 1 + sum(one == hunter for one, _ in killed)) == inherited
    (winner,) = alive
    await game.moderator.expect(lambda event: event.get("game", {}).get("event") == "won")
    assert [one["who"] for one in told(game.moderator, game.room, "won")] == [winner]
    scores = (await game.moderator.command("!score"))["data"]["scores"]
    assert [one["nick"] for one in scores if one["wins"]] == [winner] == [scores[0]["nick"]]
    assert {one["nick"]: one["kills"] for one in scores} == {
        nick: sum(hunter == nick for hunter, _ in killed) for nick in game.players
    }
    assert {one["nick"] for one in scores if one["deaths"]} == {nick for _, nick in killed}
    for nick, player in game.players.items():
        await player.say(game.room, f"{nick} speaks again")


async def test_secrets_go_only_to_whom_they_are_for(people: People) -> None:
    """“everyone is told who died of which word and not who holds what”."""
    game = await Killer.begin(people, 4)
    watcher = await people.admin(1)
    await watcher.join(game.room)
    target = next(iter(game.players))
    hunter = game.hunter_of(target)
    _, word = game.missions()[hunter]
    secrets = {nick: {mission[1], word} for nick, mission in game.missions().items()}
    await game.players[target].say(game.room, word)
    await game.died(target)
    secrets[hunter].add((await game.mission(hunter, 2))[1])
    for nick, player in game.players.items():
        await player.settled()
        history = await player.ask("history", of=game.room, limit=100)
        seen = json.dumps([player.received, history])
        assert {known for known in WORDS if known in seen} <= secrets[nick]
    listed = await watcher.command(f"!list {game.room}")
    messages = (await people.rest().call("GET", f"/rooms/%23{game.room[1:]}/messages")).text
    for text in (json.dumps([watcher.received, listed]), messages):
        assert {known for known in WORDS if known in text} == {word}
    for process in [*people.chat.gateways, *people.chat.workers]:
        logged = process.stdout + process.stderr
        assert not [mission for mission in game.missions().values() if mission[1] in logged]


async def test_the_dead(people: People) -> None:
    """“the victim is `dead` (reads, writes nothing, its state in `!list`)”."""
    game = await Killer.begin(people)
    target = sorted(game.players)[1]
    _, word = game.missions()[game.hunter_of(target)]
    dead, other = game.players[target], game.players[game.hunter_of(target)]
    await dead.say(game.room, word)
    await game.died(target, at=dead)
    await dead.refused("dead", "send", to=game.room, body="boo")
    await dead.refused("dead", "command", line="!me haunts")
    await dead.refused("dead", "command", line="!topic boo")
    await dead.say("#lobby", "I am elsewhere")
    await other.say(game.room, "hello, ghost")
    await dead.message("hello, ghost")
    for line in (f"!list {game.room}", "!list"):
        answer = await other.command(line)
        flags = {one["nick"]: one["flags"] for one in answer["data"]["sessions"]}
        assert flags[target] == ["dead"], line
        assert flags[other.nick] == []
        assert f"{target} online dead" in answer["text"]
    await dead.refused("dead", "send", to=f"@{other.nick}", body="it was...")


async def test_locked(people: People) -> None:
    """“locks the room (`locked` to newcomers; members may reconnect)”."""
    game = await Killer.begin(people)
    newcomer = await people.enter("new", 1)
    await newcomer.refused("locked", "join", room=game.room)
    player = game.players[sorted(game.players)[2]]
    await player.hang_up()
    again = await people.back(player, 1)
    await again.say(game.room, "back again")
    await game.moderator.command("!stop")
    await newcomer.join(game.room)


@pytest.mark.parametrize("how", ["!quit", "!part", "@{} !ban", "!kick {}"])
async def test_leaving_is_dying(people: People, how: str) -> None:
    """“`@bob !ban` by a moderator kills in the game too”; “one who quits dies, and its hunter inherits”."""
    game = await Killer.begin(people, 4)
    target = next(nick for nick, player in game.players.items() if player is not game.moderator)
    hunter, inherited = game.hunter_of(target), game.missions()[target]
    leaver = game.players[target]
    if "{}" in how:
        await game.moderator.command(how.format(target))
    else:
        await leaver.push({"op": "command", "id": leaver.next_id(), "line": how})
    assert (await game.died(target))["game"]["left"] == 3
    assert await game.mission(hunter, 2) == inherited


async def test_rights(people: People) -> None:
    """Moderators of the room begin, end and look behind games; others may not."""
    game = await Killer.gather(people)
    bob = game.players[sorted(game.players)[1]]
    assert bob is not game.moderator
    for line in ("!start killer", "!stop", "!secrets"):
        await bob.refused("denied", "command", line=line)
    for line in ("!stop", "!secrets", "!start chess", "!start killer word=x", "!start guess max=one"):
        await game.moderator.refused("bad_request", "command", line=line)
    await game.start()
    await game.moderator.refused("bad_request", "command", line="!start guess")
    await bob.refused("denied", "command", line="!secrets")


async def test_secrets_for_moderators(people: People) -> None:
    """“The moderator sees `!secrets`”; one who plays is seen to look."""
    game = await Killer.begin(people)
    admin = await people.admin(1)
    shown = (await admin.command(f"!secrets {game.room}"))["data"]["secrets"]
    assert {one["nick"]: (one["target"], one["word"]) for one in shown} == game.missions()
    bob = game.players[sorted(game.players)[1]]
    await bob.caught_up(game.room)
    assert not [event for event in bob.seen("message", kind="game") if "secrets" in event["body"]]
    answer = await game.moderator.command("!secrets")
    assert len(answer["text"]) == 3
    event = await bob.expect(lambda event: event.get("kind") == "game" and "secrets" in event["body"])
    assert game.moderator.nick in event["body"]


async def test_at_least_three_players(people: People) -> None:
    game = await Killer.gather(people, 2)
    await game.moderator.refused("bad_request", "command", line="!start killer")
    third = await people.enter("third", 1, room=game.room)
    await game.moderator.refused("bad_request", "command", line=f"!start killer without={third.nick}")
    answer = await game.moderator.command("!start killer words=fr")
    assert sorted(answer["data"]["players"]) == sorted([*game.players, third.nick])


async def test_a_player_who_crashes_comes_back(people: People) -> None:
    """“A player who crashes stays in the game and comes back with its cookie”."""
    game = await Killer.begin(people)
    target = sorted(game.players)[1]
    player = game.players[target]
    player.abort()
    await player.ended()
    again = await people.back(player, 1)
    _, word = game.missions()[game.hunter_of(target)]
    await again.say(game.room, word)
    await game.died(target)


async def test_a_text_client_plays(people: People) -> None:
    """“Works from every protocol”."""
    game = await Killer.gather(people)
    zoe = await people.text("zoe", 1, room=game.room)
    await game.start("words=en")
    mission = await zoe.expect(rf"\[@\] game -> {zoe.nick}: .*target is (\S+)\. .*: (\S+)")
    assert mission[1] in game.players
    hunter = next(nick for nick, (target, _) in game.missions().items() if target == zoe.nick)
    _, word = game.missions()[hunter]
    await zoe.send(f"what a {word}...")
    await zoe.expect(rf"\[{game.room}\] game: {zoe.nick} is dead: the word was {word}.*")
    await zoe.ask("hello?", r"! dead: .*")
    await zoe.ask(f"!list {game.room}", rf"\* {zoe.nick} online dead")


async def test_two_games_at_once(people: People) -> None:
    """“in several rooms at once”."""
    first, second = await asyncio.gather(Killer.begin(people), Killer.begin(people))
    for game in (first, second):
        target = sorted(game.players)[1]
        _, word = game.missions()[game.hunter_of(target)]
        await game.players[target].say(game.room, word)
        assert (await game.died(target))["game"]["left"] == 2


async def test_guess_the_number(people: People) -> None:
    """A second game, for whoever is in the room."""
    room = people.room()
    alice = await people.enter("alice", 0)
    await alice.command(f"!join {room}")
    await alice.command("!start guess max=4")
    bob = await people.enter("bob", 1, room=room)
    for number in range(1, 5):
        await bob.say(room, str(number))
        event = await alice.expect(lambda event: event.get("kind") == "game" and event["game"].get("who") == bob.nick)
        if event["game"]["event"] == "won":
            break
    assert event["game"]["guessed"] == number
    scores = (await bob.command(f"!score {room}"))["data"]["scores"]
    assert scores == [{"nick": bob.nick, "wins": 1, "kills": 0, "deaths": 0}]
    assert (await alice.command("!score"))["text"] == [f"{bob.nick} 1 win 0 kills 0 deaths"]
