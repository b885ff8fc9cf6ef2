"""Names of files: harmless whatever comes in (docs/files.md, "Names")."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from causerie import names
from causerie.files.naming import MAX_NAME, UNKNOWN_TYPE, file_name, media_type

ANY = st.text(st.characters(codec=None), max_size=300) | st.text("./\\-_:con aux\u202e\u0301\t\x00ä", max_size=40)


@given(ANY)
@example("con.")
@example("a" * 300 + ".pdf")
@example("e\u0301" * 150)
@example(("x" * 199 + " .") * 2)
@example("\u212aON .\u200b")
@example("-" + "." * 250 + "x")
def test_a_name_is_harmless(text: str) -> None:
    name = file_name(text)
    assert name
    assert len(name.encode()) <= MAX_NAME
    assert not set(name) & set('/\\<>:"|?*\x00')
    assert not name.startswith((".", "-", " "))
    assert not name.endswith((".", " "))
    assert name.isprintable() or any(unicodedata.category(char) in {"Zs", "Cn"} for char in name)
    assert not any(unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for char in name)
    assert names.body(name) == name
    assert names.line(name) == name


@given(ANY)
@example("e\u0301" * 150)
@example(("x" * 199 + " .") * 2)
@example("\u200b-\u200b-x")
def test_a_harmless_name_stays(text: str) -> None:
    assert file_name(file_name(text)) == file_name(text)


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        ("report.pdf", "report.pdf"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("../../.ssh/authorized_keys", "authorized_keys"),
        (".bashrc", "bashrc"),
        ("..", "file"),
        ("", "file"),
        ("a/", "file"),
        ("-rf", "_-rf"),
        ("NUL.txt", "_NUL.txt"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("two\nlines\x1b[2J.txt", "twolines[2J.txt"),
        ("  many   spaces .txt", "many spaces .txt"),
        ("what?.txt", "what_.txt"),
        ("\ud800.txt", "_.txt"),
        ("x" * 300 + ".tar.gz", "x" * (MAX_NAME - 3) + ".gz"),
    ],
)
def test_examples(given_: str, kept: str) -> None:
    assert file_name(given_) == kept


@pytest.mark.parametrize(
    ("claimed", "name", "kept"),
    [
        (None, "a.png", "image/png"),
        (None, "a", UNKNOWN_TYPE),
        ("", "a.txt", "text/plain"),
        ("Text/HTML", "a.png", "text/html"),
        ("text/html; charset=x", "a.png", "image/png"),
        ("text/html\r\nX: y", "a.bin", UNKNOWN_TYPE),
        (None, "data:text/html,x", UNKNOWN_TYPE),
    ],
)
def test_media_types(claimed: str | None, name: str, kept: str) -> None:
    assert media_type(claimed, name) == kept
