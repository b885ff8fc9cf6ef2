"""Games as pure functions: the ring of Killer stays one ring of the living, nothing is told to others, one wins."""

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from causerie.errors import Refused
from causerie.games import GAMES, Die, End, Left, Player, Renamed, Said, Score, Stopped, Tell, Whisper
from causerie.games.game import listed, read_options
from causerie.games.guess import Riddle
from causerie.games.killer import Circle
from causerie.games.vocabulary import LISTS, choose, contains, tokens, word_list

KILLER, GUESS = GAMES["killer"], GAMES["guess"]


# -- words


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("banana", "banana"),
        ("I ate a BANANA!", "banana"),
        ("“Bânänà”?", "banana"),
        ("une banane…", "Banane"),
        ("l'ÉTÉ", "ete"),
        ("_été_", "Été"),
        ("cœur", "COEUR"),
        ("Straße", "strasse"),
        ("ban\u00adana\u200b", "banana"),
        ("ＢＡＮＡＮＡ", "banana"),
        ("İstanbul", "istanbul"),
        ("un ARC EN CIEL", "arc-en-ciel"),
        ("line\nbanana\nline", "banana"),
        ("Ελλάδα", "ελλαδα"),
        ("e\u0301te\u0301", "été"),
    ],
)
def test_a_word_is_found_whatever_its_case_accents_and_punctuation(text: str, word: str) -> None:
    assert contains(text, word)


@pytest.mark.parametrize(
    ("text", "word"),
    [("bananas", "banana"), ("urbanana", "banana"), ("b a n a n a", "banana"), ("arc ciel", "arc-en-ciel"), ("", "a")],
)
def test_only_a_whole_word_is_found(text: str, word: str) -> None:
    assert not contains(text, word)


@given(st.text())
def test_folding_is_stable(text: str) -> None:
    assert tokens(" ".join(tokens(text))) == tokens(text)


@pytest.mark.parametrize("language", LISTS)
def test_built_in_lists_hold_enough_different_words(language: str) -> None:
    words = word_list(language)
    assert len({tuple(tokens(word)) for word in words}) == len(words) >= KILLER.most
    assert choose(language.upper()) == words


def test_own_words() -> None:
    assert choose("Banana, apple;banana , arc en ciel") == ["Banana", "apple", "arc en ciel"]
    assert choose("one two") == ["one", "two"]


@pytest.mark.parametrize("text", [",", "a,!!", "x" * 41, ",".join(map(str, range(501)))])
def test_own_words_have_bounds(text: str) -> None:
    with pytest.raises(Refused):
        choose(text)


def test_options() -> None:
    allowed = {"words": "", "max": ""}
    assert read_options("words=a, b max=7", allowed) == {"words": "a, b", "max": "7"}
    assert read_options("", allowed) == {}
    for wrong in ("word=a", "a words=b", "7"):
        with pytest.raises(Refused):
            read_options(wrong, allowed)


def test_long_lists_are_cut() -> None:
    assert (listed(["a"]), listed(["a", "b", "c"])) == ("a", "a, b and c")
    assert listed([str(n) for n in range(30)]).endswith("24 and 5 more")


@pytest.mark.parametrize("game", GAMES.values(), ids=GAMES)
def test_every_game_can_be_started_kept_and_stopped(game) -> None:
    """What the runner relies on: JSON keeps the state, the same seed deals the same, `Stopped` ends it."""
    players = [Player(f"id{n}", f"nick{n}") for n in range(game.most)]
    state, effects = game.start(players, {}, 7)
    assert (state, effects) == game.start(players, {}, 7)
    assert any(isinstance(effect, Tell) for effect in effects)
    assert msgspec.json.decode(msgspec.json.encode(state), type=game.state) == state
    assert End() in game.apply(state, Stopped("root"))[1]
    assert game.help
    assert game.name == game.name.casefold()


def test_the_game_of_the_documentation_is_a_game(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs/games.md").read_text(encoding="utf-8")
    monkeypatch.setattr("causerie.games.game.GAMES", {})
    names: dict[str, Any] = {"__name__": "hello"}
    exec(compile(page.split("```python\n")[1].split("```")[0], "hello.py", "exec"), names)
    hello = names["Hello"]()
    state, _ = hello.start([], {}, 1)
    state, _ = hello.apply(state, Said("a", "alice", "hi"))
    assert hello.apply(state, Said("b", "bob", "hello"))[1] == [Tell("bob wins."), Score("b", "bob", wins=1), End()]
    assert "1 times" in hello.apply(state, Stopped("root"))[1][0].text


# -- Killer


class KillerMachine(RuleBasedStateMachine):
    """Any course of a game, watched as the room and each player see it."""

    @initialize(count=st.integers(3, 12), seed=st.integers(0, 2**32), few=st.booleans())
    def first_game(self, count: int, seed: int, few: bool) -> None:
        self.begin(count, seed, few)

    def begin(self, count: int, seed: int, few: bool) -> None:
        self.players = [Player(f"id{n}", f"nick{n}") for n in range(count)]
        self.alive = {player.id for player in self.players}
        self.known: dict[str, tuple[str, str]] = {}
        self.credit = dict.fromkeys(self.alive, 0)
        self.over = False
        self.random = random.Random(seed)
        options = {"words": "alpha,beta,gamma"} if few else {"words": "fr"}
        self.distinct = not few
        self.state, effects = KILLER.start(self.players, options, seed)
        self._see(effects, told_to=self.alive)

    @precondition(lambda self: self.over)
    @rule(count=st.integers(3, 12), seed=st.integers(0, 2**32), few=st.booleans())
    def another_game(self, count: int, seed: int, few: bool) -> None:
        self.begin(count, seed, few)

    def _nick(self, who: str) -> str:
        return self.state.names[who]

    def _id(self, nick: str) -> str:
        return next(who for who, name in self.state.names.items() if name == nick)

    def _see(self, effects, *, told_to: set[str]) -> None:
        """Note what each is told, and that nobody else is told anything."""
        whispers = [effect for effect in effects if isinstance(effect, Whisper)]
        assert {whisper.who for whisper in whispers} == told_to, "exactly those with something new are told"
        for whisper in whispers:
            self.known[whisper.who] = (whisper.data["target"], whisper.data["word"])
        for told in (effect for effect in effects if isinstance(effect, Tell)):
            loud = str(told)
            if self.distinct:
                held = self.state.words.values()
                assert not [word for word in held if contains(loud, word)], "the room learns no word that counts"

    def _apply(self, event, died: str | None = None, killer: str | None = None) -> None:
        self.state, effects = KILLER.apply(self.state, event)
        if died is None:
            assert not list(effects)
            return
        self.alive.discard(died)
        assert [effect.who for effect in effects if isinstance(effect, Die)] == [died]
        if killer is not None:
            self.credit[killer] += 1
        if len(self.alive) > 1:
            assert End() not in effects
            self._see(effects, told_to={killer or self.hunter})
            return
        self.over = True
        self._see(effects, told_to=set())
        assert effects[-1] == End()
        scores = {effect.who: effect for effect in effects if isinstance(effect, Score)}
        assert [who for who, score in scores.items() if score.wins] == list(self.alive), "exactly one winner"
        assert {who: score.kills for who, score in scores.items() if score.kills} == {
            who: kills for who, kills in self.credit.items() if kills
        }
        assert {who for who, score in scores.items() if score.deaths} == {p.id for p in self.players} - self.alive

    playing = precondition(lambda self: not self.over)

    @playing
    @rule(data=st.data())
    def a_target_writes_the_word(self, data: st.DataObject) -> None:
        hunter = data.draw(st.sampled_from(sorted(self.alive)))
        target, word = self.known[hunter]
        victim = self._id(target)
        inherited = self.known[victim]
        text = data.draw(st.sampled_from(["{}", "so {}!", "…{}…", "a\n{}\nb"])).format(word.upper())
        self._apply(Said(victim, target, text), victim, hunter)
        if not self.over:
            assert self.known[hunter] == inherited, "the killer inherits target and word"

    @playing
    @rule(data=st.data())
    def somebody_leaves(self, data: st.DataObject) -> None:
        who = data.draw(st.sampled_from(sorted(self.alive)))
        self.hunter = self._id(next(self._nick(h) for h in self.alive if self._id(self.known[h][0]) == who))
        inherited = self.known[who]
        self._apply(Left(who, data.draw(st.sampled_from(["left", "quit", "banned", "kicked", "expired"]))), who)
        if not self.over:
            assert self.known[self.hunter] == inherited

    @playing
    @rule(data=st.data())
    def words_that_kill_nobody(self, data: st.DataObject) -> None:
        """Anybody says anything but the word of their hunter; the dead and strangers say every word."""
        everything = " ".join(word for _, word in self.known.values())
        dead = sorted({player.id for player in self.players} - self.alive)
        who = data.draw(st.sampled_from([*sorted(self.alive), *dead, "stranger"]))
        if who in self.alive:
            hunter_word = next(word for target, word in (self.known[h] for h in self.alive) if self._id(target) == who)
            everything = " ".join(word + "x" for word in everything.split()) + f" {hunter_word}s"
        self._apply(Said(who, "any", everything))

    @playing
    @rule(data=st.data())
    def the_dead_leave_and_people_change_their_names(self, data: st.DataObject) -> None:
        for who in {player.id for player in self.players} - self.alive:
            self._apply(Left(who, "quit"))
        who = data.draw(st.sampled_from(sorted(self.alive)))
        old, new = self._nick(who), f"new{self.random.random()}"
        self._apply(Renamed(who, new))
        self.known = {h: (new if target == old else target, word) for h, (target, word) in self.known.items()}

    @invariant()
    def one_ring_of_the_living(self) -> None:
        if not hasattr(self, "state"):
            return
        assert set(self.state.ring) == self.alive == set(self.state.words)
        assert len(self.state.ring) == len(self.alive)
        if len(self.alive) > 1:
            shown = {secret.data["nick"]: secret.data for secret in KILLER.secrets(self.state)}
            for who in self.alive:
                assert (shown[self._nick(who)]["target"], shown[self._nick(who)]["word"]) == self.known[who]
            assert msgspec.json.decode(msgspec.json.encode(self.state), type=Circle) == self.state


KillerMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=15)
test_killer_machine = KillerMachine.TestCase


def _killer(*names: str) -> Circle:
    state, _ = KILLER.start([Player(f"id-{name}", name) for name in names], {"words": "alpha,beta,gamma"}, 1)
    return state


def test_a_line_that_is_kept_from_counting_is_that_of_the_dead() -> None:
    """Two lines of one moment: the second was written by somebody whom the first one killed."""
    state = _killer("a", "b", "c")
    first, second = state.ring[0], state.ring[1]
    kills_second, kills_first = state.words[first], state.words[state.hunter(first)]
    state, effects = KILLER.apply(state, Said(second, "x", kills_second))
    assert Die(second) in effects
    state, effects = KILLER.apply(state, Said(second, "x", f"{kills_first} {kills_second}"))
    assert not list(effects)


def test_a_stopped_game_has_no_winner() -> None:
    state = _killer("a", "b", "c")
    victim = state.ring[1]
    state, _ = KILLER.apply(state, Said(victim, "x", state.words[state.ring[0]]))
    _, effects = KILLER.apply(state, Stopped("root"))
    scores = [effect for effect in effects if isinstance(effect, Score)]
    assert sum(score.wins for score in scores) == 0
    assert (sum(score.kills for score in scores), sum(score.deaths for score in scores)) == (1, 1)


# -- guess the number


def test_guess() -> None:
    state, _ = GUESS.start([Player("a", "alice")], {"max": "9"}, 3)
    assert 1 <= state.number <= 9
    wrong = state.number + 1
    state, effects = GUESS.apply(state, Said("b", "bob", f" {wrong}! "))
    assert "too high" in effects[0].text
    assert GUESS.apply(state, Said("b", "bob", f"is it {wrong}")) == (state, ())
    _, effects = GUESS.apply(state, Said("b", "bob", str(state.number)))
    assert [type(effect) for effect in effects] == [Tell, Score, End]
    assert effects[1] == Score("b", "bob", wins=1)
    assert msgspec.structs.asdict(state)["tries"] == 1
    assert isinstance(state, Riddle)


@pytest.mark.parametrize("most", ["1", "x", "1000000000", "-5"])
def test_guess_refuses(most: str) -> None:
    with pytest.raises(Refused):
        GUESS.start([], {"max": most}, 1)
