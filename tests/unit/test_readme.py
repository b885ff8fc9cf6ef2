"""The README says what the programs do."""

import re
from pathlib import Path

from causerie.settings import Settings, option
from cli.__main__ import PROGRAMS

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


def test_every_setting_is_in_the_table_and_nothing_else() -> None:
    listed = re.findall(r"^\| `(--[a-z-]+)` \|", README, flags=re.MULTILINE)
    assert sorted(listed) == sorted(option(name) for name in Settings.model_fields)


def test_every_program_is_listed() -> None:
    assert re.findall(r"^\| `causerie ([a-z]+)", README, flags=re.MULTILINE) == list(PROGRAMS)
