"""Games on the store: every message counts once and in order, whoever dies on the way; secrets reach their people."""

import asyncio
import json
from typing import Any

import pytest

from causerie.errors import Refused, Unavailable
from causerie.games import Player, Said, Stopped, find
from causerie.model import Post, Session
from causerie.referee import Referee, Seat, Standing, play
from causerie.store import Store
from causerie.store import games as store_games
from tests.contract.people import back, code, person, say, states, tell

ROOM = "#arena"


class Arena:
    """A game of Killer in a room, and what each player may know of it."""

    def __init__(self, store: Store, people: dict[str, Session]) -> None:
        self.store, self.people = store, people
        self.referee, self.seat = Referee(store.games), Seat()

    async def begin(self, name: str = "killer", ask: str = "", options: dict[str, str] | None = None) -> str:
        game = find(name)
        players = [Player(one.sid, one.nick) for one in self.people.values()] if game.least else []
        return await self.referee.begin(ROOM, game, players, options or {"words": "fr"}, 7, ask)

    async def secrets(self) -> dict[str, tuple[str, str]]:
        """Nick -> (target, word), as moderators see it."""
        found = await self.referee.secrets(ROOM)
        assert found is not None
        return {one.data["nick"]: (one.data["target"], one.data["word"]) for one in found}

    async def a_killing(self) -> tuple[str, str, str]:
        """Some hunter, its target and its word."""
        hunter, (target, word) = next(iter((await self.secrets()).items()))
        return hunter, target, word

    async def advance(self, seat: Seat | None = None) -> Standing:
        seat = seat or self.seat
        standing = await self.referee.advance(ROOM, seat)
        await self.referee.deliver(ROOM, seat)
        return standing

    async def posts(self) -> list[dict[str, Any]]:
        """What the game told the room, for programs."""
        events = [json.loads(entry.line) for entry in await self.store.logs.read_before(ROOM, None, 1000)]
        return [{**event["game"], "from": event["from"]} for event in events if event["kind"] == "game"]

    async def told(self, kind: str) -> list[dict[str, Any]]:
        return [post for post in await self.posts() if post["event"] == kind]

    async def missions(self, nick: str) -> list[tuple[str, str]]:
        """The whispers in somebody's inbox."""
        entries = await self.store.logs.read_before(f"@{self.people[nick].sid}", None, 1000)
        games = [json.loads(entry.line).get("game", {}) for entry in entries]
        return [(game["target"], game["word"]) for game in games if game.get("event") == "mission"]

    async def says(self, nick: str, body: str) -> str:
        return code(await say(self.store, self.people[nick], ROOM, None, body))


@pytest.fixture
async def arena(store: Store) -> Arena:
    people = {nick: await person(store, nick, ROOM) for nick in ("alice", "bob", "carol", "dave")}
    made = Arena(store, people)
    assert await made.begin() == "begun"
    return made


async def flags(store: Store) -> dict[str, list[str]]:
    return {one.nick: one.flags for one in await store.rooms.members(ROOM)}


async def test_everybody_gets_one_secret_and_the_room_none(arena: Arena) -> None:
    seats = [Seat() for _ in range(3)]
    await asyncio.gather(*[arena.advance(seat) for seat in seats])
    secrets = await arena.secrets()
    for nick in arena.people:
        assert await arena.missions(nick) == [secrets[nick]]
    said = json.dumps(await arena.posts())
    assert not [word for _, word in secrets.values() if word in said]
    assert (await arena.told("started"))[0]["players"] == sorted(arena.people)


async def test_one_game_a_room(arena: Arena) -> None:
    assert await arena.begin() == "running"
    assert len(await arena.told("started")) == 1


async def test_the_same_asking_begins_once(store: Store) -> None:
    arena = Arena(store, {nick: await person(store, nick, ROOM) for nick in ("alice", "bob", "carol")})
    assert [await arena.begin(ask="alice/ 7") for _ in range(2)] == ["begun", "begun"]
    assert await arena.begin(ask="alice/ 8") == "running"
    assert len(await arena.told("started")) == 1


async def test_a_player_who_has_gone_begins_nothing(store: Store) -> None:
    arena = Arena(store, {nick: await person(store, nick, ROOM) for nick in ("alice", "bob", "carol")})
    await store.sessions.part(arena.people["bob"].sid, ROOM)
    assert await arena.begin() == "gone"
    assert await arena.posts() == []


async def test_locked_for_newcomers_not_for_members(arena: Arena) -> None:
    store, alice = arena.store, arena.people["alice"]
    with pytest.raises(Refused) as refused:
        await person(store, "eve", ROOM)
    assert (refused.value.code, "killer" in refused.value.text) == ("locked", True)
    await back(store, alice.sid)
    await store.sessions.part(alice.sid, ROOM)
    await store.sessions.join((await back(store, alice.sid)).session, ROOM)
    eve = (await store.sessions.attach((await store.sessions.lookup("eve")) or "", "", "g", "")).session
    eve.admin = True
    await store.sessions.join(eve, ROOM)
    assert await arena.referee.advance(ROOM, Seat(), Stopped("root")) is Standing.ENDED
    await person(store, "newcomer", ROOM)


async def test_a_killing_line_counts_once_however_many_look(arena: Arena) -> None:
    hunter, target, word = await arena.a_killing()
    inherited = (await arena.secrets())[target]
    assert await arena.says(target, f"« {word.upper()} »") == ""
    await asyncio.gather(*[arena.advance(Seat()) for _ in range(5)])
    assert [(post["who"], post["word"], post["left"]) for post in await arena.told("death")] == [(target, word, 3)]
    assert (await arena.missions(hunter))[1:] == [inherited]
    assert [len(await arena.missions(nick)) for nick in arena.people if nick != hunter] == [1, 1, 1]


async def test_the_dead_write_nothing_in_that_room(arena: Arena) -> None:
    _, target, word = await arena.a_killing()
    await arena.says(target, word)
    await arena.advance()
    assert await arena.says(target, "boo") == "dead"
    assert code(await say(arena.store, arena.people[target], "#lobby")) == ""
    assert "dead" in (await flags(arena.store))[target]
    info = await arena.store.sessions.describe(arena.people[target].sid)
    assert info is not None
    assert info.flags == ["dead"]


async def test_the_dead_do_not_whisper_to_the_living(arena: Arena) -> None:
    """They may write to people who do not play."""
    store, (_, target, word) = arena.store, await arena.a_killing()
    await person(store, "outside")
    await arena.says(target, word)
    await arena.advance()
    ghost, other = arena.people[target], next(nick for nick in arena.people if nick != target)
    assert code(await tell(store, ghost, ["outside", other], 1)) == "dead"
    assert code(await tell(store, ghost, ["outside", target], 1)) == ""
    assert code(await tell(store, arena.people[other], [target])) == ""
    assert await arena.referee.advance(ROOM, Seat(), Stopped("root")) is Standing.ENDED
    assert code(await tell(store, ghost, [other])) == ""


async def test_what_the_dead_wrote_before_they_knew_does_not_count(arena: Arena) -> None:
    """Lines that came behind the killing one and before anybody had looked at it."""
    secrets = await arena.secrets()
    hunter, (target, word) = next(iter(secrets.items()))
    everything = " ".join(word for _, word in secrets.values())
    await arena.says(target, word)
    assert await arena.says(target, everything) == ""
    await arena.advance()
    assert [post["who"] for post in await arena.told("death")] == [target]
    assert (await arena.secrets())[hunter] == secrets[target]


async def test_a_player_who_left_before_its_line_is_not_killed_by_it(arena: Arena) -> None:
    """Leaving is dealt with where it happened: between two messages."""
    store, (hunter, target, word) = arena.store, await arena.a_killing()
    inherited = (await arena.secrets())[target]
    await arena.says(target, "one before")
    await store.sessions.part(arena.people[target].sid, ROOM)
    await store.sessions.join(arena.people[target], ROOM)
    await arena.says(target, word)
    await arena.advance()
    assert await arena.told("death") == []
    assert [(post["who"], post["why"]) for post in await arena.told("left")] == [(target, "left")]
    assert (await arena.secrets())[hunter] == inherited
    assert await arena.says(target, "boo") == "dead"


async def test_a_player_who_left_behind_its_line_was_killed_by_it(arena: Arena) -> None:
    _, target, word = await arena.a_killing()
    await arena.says(target, word)
    await arena.store.sessions.end(arena.people[target].sid, "quit", "")
    await arena.advance()
    assert [post["who"] for post in await arena.told("death")] == [target]
    assert await arena.told("left") == []


@pytest.mark.parametrize(
    ("how", "why"), [("quit", "quit"), ("kick", "kicked"), ("room ban", "banned"), ("ban", "banned")]
)
async def test_every_way_out_kills_and_the_hunter_inherits(arena: Arena, how: str, why: str) -> None:
    store, (hunter, target, _) = arena.store, await arena.a_killing()
    inherited, sid = (await arena.secrets())[target], arena.people[target].sid
    if how == "quit":
        await store.sessions.end(sid, "quit", "")
    elif how == "kick":
        await store.sessions.part(sid, ROOM, reason="enough", why="kicked")
    elif how == "room ban":
        await store.sanctions.ban_from(ROOM, target, None, "", "root")
    else:
        await store.sanctions.ban(target, None, "", "root")
    await arena.advance()
    await arena.advance()
    assert [(post["who"], post["why"]) for post in await arena.told("left")] == [(target, why)]
    assert (await arena.missions(hunter))[1:] == [inherited]


async def test_a_crash_kills_nobody(arena: Arena) -> None:
    store, alice = arena.store, arena.people["alice"]
    await store.executor.execute("DEL", f"{store.keys.session(alice.sid)}:alive")
    await store.sessions.claim([alice.sid], await store.sessions.now_ms(), 60_000)
    await store.sessions.tell(alice.sid)
    assert (await states(store, ROOM))["alice"] == "crashed"
    await arena.advance()
    assert "alice" in await arena.secrets()
    arena.people["alice"] = (await back(store, alice.sid)).session
    assert await arena.says("alice", "here I am") == ""


async def test_whoever_renames_is_hunted_by_the_new_name(arena: Arena) -> None:
    hunter, target, word = await arena.a_killing()
    second = (await arena.secrets())[target][0]
    await arena.store.sessions.rename(arena.people[second], "mallory")
    await arena.says(target, word)
    await arena.advance()
    assert (await arena.missions(hunter))[-1][0] == "mallory"


class Cut:
    """A connection that breaks at one call of a script, after or before it was done."""

    def __init__(self, store: Store, script: str, *, done: bool) -> None:
        self.run, self.many, self.script, self.done, self.cuts = (
            store.scripts.__call__, store.scripts.many, script, done, 1,
        )  # fmt: skip
        store.games._run = self  # type: ignore[assignment]

    async def __call__(self, name: str, *args: Any) -> Any:
        return await self._cut(name, self.run, args)

    async def _cut(self, name: str, run: Any, args: Any) -> Any:
        cut = name == self.script and self.cuts
        if cut:
            self.cuts -= 1
        if not cut or self.done:
            reply = await run(name, *args)
        if cut:
            raise Unavailable
        return reply


@pytest.mark.parametrize("done", [True, False], ids=["committed", "not committed"])
async def test_a_step_whose_answer_is_lost_is_neither_doubled_nor_missed(arena: Arena, *, done: bool) -> None:
    hunter, target, word = await arena.a_killing()
    inherited = (await arena.secrets())[target]
    await arena.says(target, word)
    Cut(arena.store, "game_step", done=done)
    with pytest.raises(Unavailable):
        await arena.advance()
    assert len(await arena.told("death")) == int(done)
    for seat in (Seat(), arena.seat):  # another worker, and the one that got no answer
        await arena.advance(seat)
    assert [post["who"] for post in await arena.told("death")] == [target]
    assert (await arena.missions(hunter))[1:] == [inherited]


async def test_letters_half_delivered_are_finished_once(arena: Arena) -> None:
    """The runner died between the copies and the note that they are delivered."""
    execute_many = arena.store.games._executor.execute_many

    async def dies(commands: Any) -> Any:
        if commands[0][0] == "LREM":
            raise Unavailable
        return await execute_many(commands)

    arena.store.games._executor.execute_many = dies
    with pytest.raises(Unavailable):
        await arena.advance()
    arena.store.games._executor.execute_many = execute_many
    await arena.advance(Seat())
    assert [len(await arena.missions(nick)) for nick in arena.people] == [1, 1, 1, 1]


async def test_the_last_one_alive_wins_and_everything_is_as_before(arena: Arena) -> None:
    store = arena.store
    killed: list[tuple[str, str]] = []
    while len(arena.people) - len(killed) > 1:
        hunter, target, word = await arena.a_killing()
        await arena.says(target, word)
        standing = await arena.advance()
        killed.append((hunter, target))
    assert standing is Standing.ENDED
    winner = hunter
    assert [post["who"] for post in await arena.told("won")] == [winner]
    scores = {one.nick: (one.wins, one.kills, one.deaths) for one in (await store.games.scores(ROOM)).values()}
    assert scores == {
        nick: (
            int(nick == winner),
            sum(one == nick for one, _ in killed),
            sum(one == nick for _, one in killed),
        )
        for nick in arena.people
    }
    for nick in arena.people:
        assert await arena.says(nick, "again") == ""
    assert not [nick for nick, shown in (await flags(store)).items() if "dead" in shown]
    for one in arena.people.values():
        info = await store.sessions.describe(one.sid)
        assert info is not None
        assert info.flags == []
    await person(store, "newcomer", ROOM)
    access = await store.executor.execute("HKEYS", f"{store.keys.of(ROOM)}:access")
    assert not [field for field in access if field[:2] in (b"p:", b"d:")]
    assert not await store.games.exists(ROOM)
    assert await arena.advance(Seat()) is Standing.NONE
    assert await store.executor.execute("EXISTS", f"{store.keys.of(ROOM)}:letters") == 0
    assert await arena.begin() == "begun"


async def test_stop_counts_what_was_written_before(arena: Arena) -> None:
    _, target, word = await arena.a_killing()
    await arena.says(target, word)
    assert await arena.referee.advance(ROOM, Seat(), Stopped("root")) is Standing.ENDED
    assert [post["event"] for post in await arena.posts()] == ["started", "death", "stopped"]
    assert await arena.referee.advance(ROOM, Seat(), Stopped("root")) is Standing.NONE
    assert sum(one.deaths for one in (await arena.store.games.scores(ROOM)).values()) == 1


async def test_two_games_side_by_side(arena: Arena) -> None:
    """A person may be dead here and alive there."""
    store = arena.store
    _, target, word = await arena.a_killing()
    for one in arena.people.values():
        await store.sessions.join(one, "#other")
    players = [Player(one.sid, one.nick) for one in arena.people.values()]
    assert await arena.referee.begin("#other", find("killer"), players, {}, 1, "") == "begun"
    await arena.says(target, word)
    await arena.advance()
    assert code(await say(store, arena.people[target], "#other")) == ""
    assert {one.nick: one.flags for one in await store.rooms.members("#other")}[target] != ["dead"]


async def test_a_game_in_a_room_that_everybody_left_ends(store: Store) -> None:
    arena = Arena(store, {"alice": await person(store, "alice", ROOM)})
    assert await arena.begin("guess", options={}) == "begun"
    assert await arena.advance() is Standing.ON
    await store.sessions.part(arena.people["alice"].sid, ROOM)
    assert await arena.advance() is Standing.ENDED


async def test_guessing_is_for_everybody_there(store: Store) -> None:
    """Nobody is dealt in, the room stays open, and newcomers guess as well."""
    arena = Arena(store, {"alice": await person(store, "alice", ROOM)})
    await arena.begin("guess", options={"max": "3"})
    arena.people["bob"] = await person(store, "bob", ROOM)
    found = await arena.referee.secrets(ROOM)
    assert found is not None
    number = found[0].data["number"]
    wrong = number % 3 + 1
    await arena.says("bob", str(wrong))
    await arena.says("alice", f"{number}!")
    await arena.says("bob", str(wrong))
    assert await arena.advance() is Standing.ENDED
    assert [(post["event"], post.get("who")) for post in await arena.posts()][1:] == [
        ("low" if wrong < number else "high", "bob"),
        ("won", "alice"),
    ]


async def test_only_a_room_with_a_game_keeps_its_authors(arena: Arena) -> None:
    """An author is told apart by session, not by nick; without a game nothing more is kept than before."""
    store = arena.store
    await arena.says("alice", "with a game")
    await store.logs.append(ROOM, [Post(None, "alice", None, "message", "a bot", "m")])
    await say(store, arena.people["alice"], "#lobby")
    entries = [entry[1] for entry in await store.executor.execute("XRANGE", f"{store.keys.of(ROOM)}:log", "-", "+")]
    assert [len(fields) for fields in entries] == [4, 6, 4]
    lobby = await store.executor.execute("XRANGE", f"{store.keys.of('#lobby')}:log", "-", "+")
    assert len(lobby[0][1]) == 4


async def test_a_bot_that_uses_the_name_of_a_player_kills_nobody(arena: Arena) -> None:
    _, target, word = await arena.a_killing()
    await arena.store.logs.append(ROOM, [Post(None, target, None, "message", word, "m")])
    await arena.advance()
    assert await arena.told("death") == []


async def test_a_lost_meta_key_keeps_the_game_going(arena: Arena) -> None:
    store, (_, target, word) = arena.store, await arena.a_killing()
    await store.executor.execute("DEL", f"{store.keys.of(ROOM)}:meta")
    await arena.advance()
    await arena.says(target, word)
    await arena.advance()
    assert [post["who"] for post in await arena.told("death")] == [target]
    with pytest.raises(Refused):
        await person(store, "eve", ROOM)


async def test_a_log_trimmed_below_the_cursor_goes_on(open_store) -> None:
    store = await open_store(history_limit=5)
    arena = Arena(store, {nick: await person(store, nick, ROOM) for nick in ("alice", "bob", "carol")})
    await arena.begin()
    hunter, target, word = await arena.a_killing()
    for n in range(10):
        await arena.says(hunter, str(n))
    await arena.says(target, word)
    await arena.advance()
    assert [post["who"] for post in await arena.told("death")] == [target]


async def test_long_pauses_are_read_in_pieces(arena: Arena) -> None:
    """More messages than one read takes, the killing one among them."""
    _, target, word = await arena.a_killing()
    quiet = next(nick for nick in arena.people if nick != target)
    posts = [Post(arena.people[quiet].origin, quiet, None, "message", str(n), f"m{n}") for n in range(300)]
    await arena.store.logs.append(ROOM, posts)
    await arena.says(target, word)
    await arena.advance()
    assert [post["who"] for post in await arena.told("death")] == [target]
    cursor = await arena.store.executor.execute("HGET", f"{arena.store.keys.of(ROOM)}:game", "seq")
    assert int(cursor) >= 300


async def test_score_table_is_bounded(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_games, "MOST_SCORES", 2)
    _, target, word = await arena.a_killing()
    await arena.says(target, word)
    await arena.advance()
    for nick in list(arena.people):
        await arena.store.sessions.end(arena.people[nick].sid, "quit", "")
    assert await arena.advance() is Standing.ENDED
    assert len(await arena.store.games.scores(ROOM)) == 2


async def test_the_name_of_the_games_is_nobody_s(store: Store) -> None:
    with pytest.raises(Refused) as refused:
        await person(store, "game")
    assert refused.value.code == "nick_taken"
    alice = await person(store, "alice")
    with pytest.raises(Refused):
        await store.sessions.rename(alice, "game")


async def test_a_room_with_a_game_is_not_forgotten(store: Store) -> None:
    arena = Arena(store, {"alice": await person(store, "alice", ROOM)})
    await arena.begin("guess", options={})
    await store.sessions.part(arena.people["alice"].sid, ROOM)
    future = await store.sessions.now_ms() + 1000
    assert not await store.rooms.forget(ROOM, future)
    await arena.advance()
    assert await store.rooms.forget(ROOM, future)
    assert not [key for key in await _keys(store) if ROOM in key]


async def _keys(store: Store) -> list[str]:
    names = ("meta", "log", "members", "access", "game", "letters", "score")
    keys = [f"{store.keys.of(ROOM)}:{name}" for name in names]
    return [key for key in keys if await store.executor.execute("EXISTS", key)]


async def test_who_runs_a_game(store: Store) -> None:
    games = store.games
    await games.offer(ROOM)
    await games.offer(ROOM, only_new=True)
    assert await games.running() == {ROOM: ""}
    claims = await asyncio.gather(*[games.claim(ROOM, "", f"w{n}") for n in range(5)])
    assert sum(claims) == 1
    owner = (await games.running())[ROOM]
    assert await games.claim(ROOM, owner, "w9")
    assert not await games.claim(ROOM, owner, None)
    assert await games.claim(ROOM, "w9", None)
    assert (await games.running(), await games.count()) == ({}, 0)
    assert await games.check_in("w1") == {"w1"}
    assert await games.check_in("w2") == {"w1", "w2"}
    await games.check_out("w1")
    assert await games.check_in("w2") == {"w2"}


async def test_a_game_missing_from_the_list_is_found(arena: Arena) -> None:
    games = arena.store.games
    assert await games.unlisted(["#lobby", ROOM]) == [ROOM]
    await games.offer(ROOM)
    assert await games.unlisted(["#lobby", ROOM]) == []


def test_a_game_with_a_mistake_ends_and_tells_no_secret(caplog: pytest.LogCaptureFixture, capsys) -> None:
    game = find("guess")
    state, _ = game.start([], {}, 1)

    class Broken:
        name = "broken"

        def apply(self, state: object, event: object) -> object:
            raise KeyError(event)

    said = Said("a", "alice", "the secret word")
    _, effects = play(Broken(), state, [said, said])  # type: ignore[arg-type]
    assert [type(effect).__name__ for effect in effects] == ["Tell", "End"]
    printed = capsys.readouterr()
    assert "the secret word" not in printed.out + printed.err + caplog.text
    assert "KeyError" in printed.out + printed.err + caplog.text
