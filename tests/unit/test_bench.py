"""The pure parts of the measurements: what the figures are made of, and which scenarios a word means."""

import argparse

import pytest

from bench import kept, scenarios
from bench import run as bench_run
from bench.catalogue import GROUPS, SCENARIOS, chosen, series
from bench.peers import install
from bench.peers.registry import PEERS
from bench.run import measured, median


def test_medians_are_taken_number_by_number_and_of_nothing_else():
    rounds = [{"a": 3, "of": {"b": 1.0}, "name": "x"}, {"a": 9, "of": {"b": 5.0}, "name": "y"}]
    rounds.append({"a": 4, "of": {"b": 2.0}, "name": "z"})
    assert median(rounds) == {"a": 4, "of": {"b": 2.0}, "name": "z"}


def test_the_histogram_kept_is_that_of_the_round_in_the_middle():
    rounds = [run(p99_ms=5.0), run(p99_ms=900.0, histogram_us=[[9e5, 1]]), run(p99_ms=7.0, histogram_us=[[7e3, 1]])]
    middle = measured("any", rounds)["median"]
    assert (middle["p99_ms"], middle["histogram_us"]) == (7.0, [[7e3, 1]])


@pytest.mark.parametrize(("in_turn", "order"), [(True, "ababa"), (False, "aaabb")])
def test_rounds_in_turn_and_one_that_fails(monkeypatch, capsys, in_turn, order):
    """Else a machine that gets slower in an hour would tell on the last; one that fails is not tried again."""
    made = []

    def scenario(name):
        def measure():
            made.append(name)
            if made.count(name) == 2 and name == "b":
                raise RuntimeError("broken")
            return {"seconds": 1.0}

        return measure

    monkeypatch.setattr(bench_run, "SCENARIOS", {name: scenario(name) for name in "ab"})
    given = argparse.Namespace(rounds=3, lock=None, limit=10, keep=False, verbose=False)
    groups = [["a", "b"]] if in_turn else [["a"], ["b"]]
    assert sum(bench_run.measure(names, given) for names in groups) == 1
    assert "".join(made) == order
    told = capsys.readouterr().out
    assert "b: failed: RuntimeError: broken" in told
    assert told.splitlines()[-1].startswith("a {") is in_turn


def test_what_was_measured_is_told_also_when_it_is_ended_early(monkeypatch, capsys, tmp_path):
    def scenario():
        if made:
            raise KeyboardInterrupt
        made.append(1)
        return {"seconds": 1.0}

    made = []
    monkeypatch.setattr(bench_run, "SCENARIOS", {"a": scenario})
    monkeypatch.setattr(bench_run, "RESULTS", tmp_path)
    given = argparse.Namespace(rounds=3, lock=None, limit=10, keep=True, verbose=False)
    with pytest.raises(KeyboardInterrupt):
        bench_run.measure(["a"], given)
    assert capsys.readouterr().out.startswith("a {")
    assert not list(tmp_path.iterdir()), "fewer rounds do not replace what is kept"


def test_rounds_that_do_not_go_together_cost_others_nothing(monkeypatch, capsys):
    rounds = iter([{"x": 1}, {"y": 1}])
    monkeypatch.setattr(bench_run, "SCENARIOS", {"a": lambda: next(rounds), "b": lambda: {"seconds": 1.0}})
    given = argparse.Namespace(rounds=2, lock=None, limit=10, keep=False, verbose=False)
    assert bench_run.measure(["a", "b"], given) == 1
    told = capsys.readouterr().out.splitlines()
    assert [line.partition(" ")[0] for line in told] == ["a:", "b"]


def test_a_percentile_is_the_end_of_its_bucket():
    histogram = [(1.0, 98), (2.0, 1), (3.0, 1)]
    assert [scenarios.percentile(histogram, share) for share in (0.5, 0.98, 0.99, 0.999)] == [1.0, 1.0, 2.0, 3.0]
    assert scenarios.percentile([], 0.5) == 0.0


def run(**changes):
    counted = dict.fromkeys(("connections", "deliveries", "sent", "bytes", "reads", "disorder"), 10)
    counted |= {"lost": 0, "strange": 0, "errors": 0, "closed": 0, "sent_all": 10, "deliveries_all": 100}
    other = {
        "event": "run",
        "seconds": 2.0,
        "load_cpu": 0.5,
        "cpu": [1.0],
        "max_ms": 3.0,
        "histogram_us": [[1000.0, 4]],
    }
    return counted | other | changes


def test_runs_of_several_load_generators_make_one():
    found = scenarios.together([run(), run(max_ms=9.0, histogram_us=[[1000.0, 1], [4000.0, 5]])])
    assert (found["deliveries"], found["load_cpu"], found["seconds"], found["cpu"]) == (20, 1.0, 2.0, [1.0])
    assert (found["p50_ms"], found["p90_ms"], found["max_ms"]) == (1.0, 4.0, 9.0)
    assert found["histogram_us"] == [(1000.0, 5), (4000.0, 5)]


def test_who_only_listens_is_told_what_there_was_to_hear():
    found = scenarios.together([run(), run(sent_all=0, deliveries_all=97)])
    assert found["lost"] == 3


def test_words_mean_scenarios_groups_and_patterns_each_once():
    names = ["peer-a-idle", "peer-b-idle", "steady"]
    assert chosen(["steady", "peer-*-idle", "steady"], names) == ["steady", "peer-a-idle", "peer-b-idle"]
    assert chosen(["floor"]) == list(GROUPS["floor"])
    with pytest.raises(KeyError, match="peer-x"):
        chosen(["steady", "peer-x"], names)


def test_no_scenario_has_the_name_of_another():
    assert len(SCENARIOS) == sum(map(len, GROUPS.values()))


def test_a_series_is_ordered_by_its_number():
    assert series("rooms", ["rooms-100", "rooms-tcp", "rooms-20", "peer-x-rooms", "rooms-tcp-70"]) == [
        (20, "rooms-20"),
        (100, "rooms-100"),
    ]


def test_all_peers_do_the_same_work():
    works = ("fanout", "steady", "rooms", "idle")
    assert set(GROUPS["peers"]) == {f"peer-{name}-{work}" for name in PEERS for work in works}


def test_what_peers_need_is_pinned():
    pins = [package.replace("==", "@").rpartition("@") for package in (*install.PYTHON, *install.NODE)]
    assert all(name and version[0].isdigit() for name, _, version in pins)
    assert install.version(install.NODE, "redis") == "6.3.1"
    for name in install.PYTHON:
        assert install.version(install.PYTHON, name.partition("==")[0]) in name


def test_a_missing_server_says_how_to_get_it():
    with pytest.raises(install.Absent, match="no-such-server is not on the PATH: apt-get install it"):
        install.on_path("no-such-server", "apt-get install it")


def test_the_cache_of_packages_changes_with_their_versions(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    one, other = (install._folder("node", [f"ws@{version}"]) for version in "12")
    assert one != other
    assert one.parent == other.parent == tmp_path / "causerie-bench"


def test_a_server_that_falls_short_of_the_rate_is_said_to():
    figures = {"cpu_us_per_delivery": 107.2, "deliveries_per_core_s": 9300, "p99_ms": 5000.0, "lost": 200_000}
    assert kept.steady(figures) == "107; cannot: 9 a core"
    assert kept.steady(figures | {"deliveries_per_core_s": 90_000, "lost": 0}) == "107; p99 5,000 ms"


def test_a_figure_with_losses_shows_them():
    figures = {"cpu_us_per_delivery": 1.2345, "messages_per_s": 8000, "lost": 3, "disorder": 0}
    shown = kept.row({"fanout-tcp-8": figures, "rooms-tcp": figures | {"lost": 0}}, "Causerie, TCP")
    assert shown == "| Causerie, TCP | 1.23 (3 lost) |  | 1.23; 8,000/s |  |"
