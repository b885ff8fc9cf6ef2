"""Settings, docs/protocol.md "Programs": flag > environment > file > default; one clear line and exit 2."""

import os
from pathlib import Path

import pytest

from causerie.settings import Settings, from_command_line

TOKEN = "correct-horse"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CAUSERIE_")]:
        monkeypatch.delenv(name)


def read(*argv: str) -> Settings:
    return from_command_line(argv, "causerie gateway")


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line of a refusal."""
    with pytest.raises(SystemExit) as ended:
        read(*argv)
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("causerie gateway: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err


def test_defaults_are_those_of_the_contract() -> None:
    settings = read()
    assert settings.host == "127.0.0.1"
    assert (settings.http_port, settings.tcp_port, settings.irc_port) == (8080, 4040, 6667)
    assert (settings.heartbeat_interval, settings.heartbeat_ttl) == (10, 30)
    assert (settings.session_ttl, settings.nick_ttl, settings.stall_timeout) == (86400, 600, 30)
    assert (settings.history_limit, settings.room_bytes) == (10_000, 16 * 2**20)
    assert (settings.rate_limit, settings.max_outbox, settings.max_rooms) == (10, 2**20, 50)
    assert (settings.min_replicas, settings.appendfsync) == (0, "always")


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "causerie.toml"
    file.write_text('host = "file"\nnamespace = "file"\nmax-rooms = 3\nsession_ttl = "2h"\n')
    monkeypatch.setenv("CAUSERIE_NAMESPACE", "environment")
    monkeypatch.setenv("CAUSERIE_SESSION_TTL", "")
    monkeypatch.setenv("CAUSERIE_MAX_ROOMS", "4")
    settings = read("--config", str(file), "--max-rooms", "5")
    assert (settings.host, settings.namespace, settings.max_rooms) == ("file", "environment", 5)
    assert settings.session_ttl == 7200
    monkeypatch.setenv("CAUSERIE_CONFIG", str(file))
    assert read().host == "file"


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["--http-port", "65536"], "--http-port"),
        (["--tcp-port", "any"], "--tcp-port"),
        (["--tcp-port", "8080"], "differ"),
        (["--namespace", "A"], "--namespace"),
        (["--namespace", "x" * 33], "--namespace"),
        (["--namespace", "a:b"], "--namespace"),
        (["--heartbeat-ttl", "10"], "--heartbeat-ttl"),
        (["--heartbeat-interval", "0"], "--heartbeat-interval"),
        (["--session-ttl", "soon"], "--session-ttl"),
        (["--redis-url", "http://localhost"], "--redis-url"),
        (["--redis-url", "redis+sentinel://a:1"], "master"),
        (["--redis-url", "redis+sentinel://a:1/m/x"], "master"),
        (["--redis-url", "redis://a:99999"], "port"),
        (["--redis-url", "redis://a:1,b:1"], "several"),
        (["--redis-url", "rediss://a:1/x"], "database"),
        (["--redis-url", "redis+cluster://a:1/3"], "database"),
        (["--redis-url", "unix://"], "--redis-url"),
        (["--redis-url", "redis://host:port"], "--redis-url"),
        (["--redis-url", "redis+cluster://a:1,,b:2"], "--redis-url"),
        (["--history-limit", "0"], "--history-limit"),
        (["--rate-limit", "nan"], "--rate-limit"),
        (["--min-replicas", "-1"], "--min-replicas"),
        (["--min-replicas", "1", "--redis-url", "redis+cluster://a:1"], "--min-replicas"),
        (["--log-level", "loud"], "--log-level"),
        (["--gateway-id", "a b"], "--gateway-id"),
        (["--admin-token", " "], "--admin-token"),
        (["--admin-token-file", "/nowhere/token"], "--admin-token-file"),
        (["--config", "/nowhere/causerie.toml"], "--config"),
        (["--host", ""], "--host"),
        (["--nicks", "1"], "--nicks"),
        (["--max-room", "1"], "--max-room"),
        (["loose"], "loose"),
        (["--host"], "--host"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(argv: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert named in refused(capsys, *argv)


def test_a_bad_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "causerie.toml"
    file.write_text("nicks = 1\n")
    assert "nicks" in refused(capsys, "--config", str(file))
    file.write_text("not toml")
    assert str(file) in refused(capsys, "--config", str(file))


def test_bad_environment_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CAUSERIE_HTTP_PORT", "x")
    assert "--http-port" in refused(capsys)


def test_auto_is_not_off() -> None:
    settings = read("--irc-port", "0", "--tcp-port", "auto")
    assert settings.irc_port == 0
    assert settings.tcp_port == "auto"


def test_secrets_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    settings = read("--admin-token", TOKEN, "--redis-url", f"redis://user:{TOKEN}@127.0.0.1:1/0?password={TOKEN}")
    for shown in (repr(settings), str(settings), settings.public_redis_url):
        assert TOKEN not in shown
    assert "127.0.0.1:1" in settings.public_redis_url
    assert TOKEN not in refused(capsys, "--redis-url", f"nonsense://user:{TOKEN}@host")
    assert TOKEN not in refused(capsys, "--admin-token", TOKEN, "--heartbeat-ttl", "1")


def test_the_nearest_token_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, config = tmp_path / "token", tmp_path / "causerie.toml"
    file.write_text(TOKEN + "\n")
    config.write_text('admin_token = "of-the-config"\n')

    def token(*argv: str) -> str | None:
        settings = read("--config", str(config), *argv)
        return settings.admin_token and settings.admin_token.get_secret_value()

    assert token() == "of-the-config"
    monkeypatch.setenv("CAUSERIE_ADMIN_TOKEN_FILE", str(file))
    assert token() == TOKEN
    monkeypatch.delenv("CAUSERIE_ADMIN_TOKEN_FILE")
    monkeypatch.setenv("CAUSERIE_ADMIN_TOKEN", "of-the-environment")
    assert token() == "of-the-environment"
    assert token("--admin-token-file", str(file)) == TOKEN
    assert token("--admin-token", "of-the-flag") == "of-the-flag"


def test_a_child_gets_exactly_these_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = read(
        "--admin-token",
        TOKEN,
        "--http-port",
        "auto",
        "--heartbeat-ttl",
        "1.5",
        "--heartbeat-interval",
        "0.3",
        "--rate-limit",
        "0",
        "--redis-url",
        "unix:///tmp/x.sock",
        "--room-bytes",
        "1 MiB",
    )
    for name, value in parent.environment().items():
        monkeypatch.setenv(name, value)
    assert read() == parent


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        read().host = "elsewhere"  # type: ignore[misc]


@pytest.mark.parametrize("url", ["off", "file:///var/files", "s3://bucket", "s3://bucket/a/b", "gs://b/c", "az://c/d"])
def test_places_for_files(url: str) -> None:
    assert read("--files-url", url).files_url == url


@pytest.mark.parametrize(
    "url", ["", "files", "/var/files", "file://host/x", "http://h/x", "s3://", "s3://key:secret@bucket", "s3://b?k=v"]
)
def test_what_is_no_place_for_files(capsys: pytest.CaptureFixture[str], url: str) -> None:
    line = refused(capsys, "--files-url", url)
    assert "--files-url" in line
    assert "secret@" not in line
