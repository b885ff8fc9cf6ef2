"""What the line client makes of typed lines about files, and the bar that it draws."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causerie.client import NotSent
from causerie.client.saving import Partial, free_name
from cli.progress import Meter, bar, clock
from cli.transfers import Getting, Sending, parse

ID = "0123456789abcdef" * 2
SHA = "0" * 64


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("@bob !send_file report.pdf", Sending(["@bob"], Path("report.pdf"))),
        ("@Bob @carol  !SEND_FILE  my report 2.pdf ", Sending(["@bob", "@carol"], Path("my report 2.pdf"))),
        ("@bob !send_file '/tmp/a b'", Sending(["@bob"], Path("/tmp/a b"))),
        ("@bob !send_file ~/a", Sending(["@bob"], Path.home() / "a")),
        ("!broadcast_file a.png", Sending(None, Path("a.png"))),
        ("!broadcast_file #dev a.png", Sending("#dev", Path("a.png"))),
        (f"!get {ID}", Getting(ID, None)),
        (f"!GET {ID.upper()} some where", Getting(ID, Path("some where"))),
        (f"@bob !send_file 12 {SHA} a", None),
        (f"!broadcast_file 12 {SHA} a", None),
        ("!get it", None),
        ("!files", None),
        ("I say !send_file", None),
        ("@bob see !send_file", None),
        ("", None),
    ],
)
def test_lines_about_files(line: str, wanted: object) -> None:
    assert parse(line) == wanted


@pytest.mark.parametrize(
    "line", ["!send_file a", "!send_file", "@bob !send_file", "!broadcast_file", "@b/b !send_file a"]
)
def test_lines_that_miss_something(line: str) -> None:
    with pytest.raises(NotSent):
        parse(line)


def test_rate_and_time_left() -> None:
    meter = Meter(100.0)
    assert (meter.rate(100.0), meter.left(100.0)) == (0.0, None)
    for second in range(11):
        meter.feed(second * 1000, 20_000, 100.0 + second)
    assert meter.rate(110.0) == 1000.0
    assert meter.left(110.0) == 10.0
    assert meter.average(110.0) == 1000.0
    meter.feed(4000, 20_000, 111.0)
    assert meter.rate(111.0) == 0.0, "a broken connection has no rate"
    meter.feed(6000, 20_000, 112.0)
    assert meter.rate(112.0) == 2000.0


def test_the_bar() -> None:
    meter = Meter(0.0)
    meter.feed(0, 2**20, 0.0)
    meter.feed(2**19, 2**20, 1.0)
    assert bar("report.pdf", meter, 1.0, 80) == "report.pdf [##########----------]  50%  512 KiB/s  0:01"
    assert bar("a very long name.pdf", meter, 1.0, 60) == "a very long n~ [##########----------]  50%  512 KiB/s  0:01"


@given(st.lists(st.integers(0, 2**40), min_size=1), st.integers(0, 200), st.text(max_size=40))
def test_the_bar_fits(steps: list[int], width: int, name: str) -> None:
    meter = Meter(0.0)
    for second, done in enumerate(steps):
        meter.feed(done, max(steps), float(second))
        assert len(bar(name, meter, float(second), width)) < max(width, 1)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (6.6, "0:07"), (750, "12:30"), (3723, "1:02:03"), (1e9, "days")]
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_free_names(tmp_path: Path) -> None:
    target = tmp_path / "a.tar.gz"
    assert free_name(target) == target
    target.touch()
    (tmp_path / "a.tar (2).gz").symlink_to("nowhere")
    assert free_name(target) == tmp_path / "a.tar (3).gz"


def test_a_partial_stays_and_becomes_the_file_once(tmp_path: Path) -> None:
    target = tmp_path / "a"
    with Partial(tmp_path, SHA) as partial:
        partial.write(b"abc")
    with Partial(tmp_path, SHA) as partial:
        assert partial.size == 3
        with pytest.raises(Exception, match="already"), Partial(tmp_path, SHA):
            pass
        partial.write(b"def")
        target.write_text("mine")
        with pytest.raises(FileExistsError):
            partial.become(target, overwrite=False)
        assert target.read_text() == "mine"
        partial.become(free_name(target), overwrite=False)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "mine", "a (2)": "abcdef"}
    with Partial(tmp_path, SHA) as partial:
        partial.write(b"new")
        partial.become(target, overwrite=True)
    assert target.read_text() == "new"
    with Partial(tmp_path, SHA):
        pass
    assert len(list(tmp_path.iterdir())) == 2, "nothing came, nothing is left"


def test_a_partial_follows_no_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / f".causerie-{SHA}.part").symlink_to(victim)
    with pytest.raises(OSError), Partial(tmp_path, SHA):
        pass
    assert victim.read_text() == "mine"
