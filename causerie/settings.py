"""Every setting of every program. It comes from a flag, else the environment, else a file, else a default."""

import argparse
import os
import re
import secrets
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn
from urllib.parse import urlsplit, urlunsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from causerie import __version__
from causerie.names import network
from causerie.units import duration, size

ENVIRONMENT_PREFIX = "CAUSERIE_"
FILES_SCHEMES = ("file", "s3", "gs", "az")
REDIS_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "redis+cluster")
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:,\s]+)(:[0-9]{1,5})?")

_DATABASE = (r"(/[0-9]*)?", "names a database that is no number: redis://host:port/0")
_REDIS_PATHS = {
    "redis+sentinel": (r"/[^/]+(/[0-9]*)?", "names no master: redis+sentinel://host:port,host:port/master-name"),
    "redis+cluster": (r"/?0?", "names a database: a cluster has none"),
}
"""What may stand behind the hosts of a store's URL, and what to say if something else does."""


def _port(value: object) -> int | Literal["auto"]:
    if value == "auto":
        return "auto"
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str) and re.fullmatch(r"[0-9]{1,5}", value.strip()):
        number = int(value)
    else:
        number = -1
    if not 0 <= number <= 65535:
        raise ValueError(f"not a port (0 to 65535, or auto): {value!r}")
    return number


def _redis_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in REDIS_SCHEMES:
        raise ValueError(f"must start with one of {', '.join(scheme + '://' for scheme in REDIS_SCHEMES)}")
    if parts.scheme == "unix":
        if not parts.path:
            raise ValueError("names no socket: unix:///path/to/socket")
        return value
    hosts = [_HOST_AND_PORT.fullmatch(host) for host in parts.netloc.rpartition("@")[2].split(",")]
    if not all(host is not None and int((host[2] or ":0")[1:]) <= 65535 for host in hosts):
        raise ValueError("names no host, or a port that is none")
    if len(hosts) > 1 and parts.scheme in {"redis", "rediss"}:
        raise ValueError("names several hosts: that is for redis+sentinel:// and redis+cluster://")
    wanted, problem = _REDIS_PATHS.get(parts.scheme, _DATABASE)
    if not re.fullmatch(wanted, parts.path):
        raise ValueError(problem)
    return value


def _files_url(value: str) -> str:
    if value == "off":
        return value
    parts = urlsplit(value)
    if parts.scheme not in FILES_SCHEMES:
        raise ValueError(f"must be off, or start with one of {', '.join(s + '://' for s in FILES_SCHEMES)}")
    if "@" in parts.netloc or parts.query:
        raise ValueError("may hold no secret: give it by environment, as AWS_SECRET_ACCESS_KEY")
    if parts.scheme == "file" and (parts.netloc or not parts.path.startswith("/")):
        raise ValueError("a folder is written file:///path/to/folder")
    if parts.scheme != "file" and not parts.netloc:
        raise ValueError("names no bucket")
    return value


def _identifier(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", value):
        raise ValueError(f"must be 1 to 64 of letters, digits, '.', '_', '-': {value!r}")
    return value


def _namespace(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9_-]{1,32}", value):
        raise ValueError(f"must be 1 to 32 of a-z, 0-9, '_', '-': {value!r}")
    return value


def _networks(value: str) -> str:
    words = [word.strip() for word in value.split(",")] if value.strip() else []
    networks = [network(word) for word in words]
    if None in networks:
        raise ValueError("must be addresses or networks (10.0.0.0/8), divided by commas")
    return ",".join(str(each) for each in networks)


def _filled(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().strip():
        raise ValueError("is empty")
    return value


def default_data_dir() -> Path:
    """Return where `serve` keeps its data unless it is told otherwise (XDG Base Directory)."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "causerie"


Port = Annotated[int | Literal["auto"], BeforeValidator(_port)]
Seconds = Annotated[float, BeforeValidator(duration)]
PositiveSeconds = Annotated[float, BeforeValidator(duration), Field(gt=0)]
Bytes = Annotated[int, BeforeValidator(size), Field(ge=1)]
Count = Annotated[int, Field(ge=1)]


class Settings(BaseSettings):
    """The settings of one program: durations in seconds, sizes in bytes.

    `Settings()` reads the environment alone; programs use `from_command_line`.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        validate_default=False,
    )

    redis_url: Annotated[str, AfterValidator(_redis_url)] = Field(
        "redis://127.0.0.1:6379/0",
        repr=False,
        description="the store: redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://",
    )
    host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    http_port: Port = Field(8080, description="REST, WebSocket, web pages; 0 = off, auto = a free one")
    tcp_port: Port = Field(4040, description="text and JSON lines; 0 = off, auto = a free one")
    irc_port: Port = Field(6667, description="IRC; 0 = off, auto = a free one")
    admin_token: Annotated[SecretStr, AfterValidator(_filled)] | None = Field(
        None, description="secret of the admins; better by environment or --admin-token-file"
    )
    admin_token_file: Path | None = Field(None, description="file that holds the admin token")
    heartbeat_interval: PositiveSeconds = Field(10.0, description="time between heartbeats")
    heartbeat_ttl: PositiveSeconds = Field(30.0, description="a session silent for so long is crashed")
    session_ttl: PositiveSeconds = Field(86400.0, description="a session unused for so long is forgotten")
    nick_ttl: Seconds = Field(600.0, description="a nick crashed for so long may be taken by another")
    history_limit: Count = Field(10_000, description="messages kept of a room")
    room_bytes: Bytes = Field(16 * 2**20, description="bytes kept of a room")
    rate_limit: float = Field(10.0, ge=0, allow_inf_nan=False, description="messages a second of a session; 0 = none")
    max_outbox: Bytes = Field(2**20, description="bytes queued to one slow client")
    stall_timeout: PositiveSeconds = Field(30.0, description="a client reading nothing for so long is cut off")
    max_rooms: Count = Field(50, description="rooms of a session")
    trusted_proxies: Annotated[str, AfterValidator(_networks)] = Field(
        "", description="balancers that say for whom they connect: addresses or networks, divided by commas"
    )
    files_url: Annotated[str, AfterValidator(_files_url)] | None = Field(
        None, description="where files lie: file:///folder, s3://bucket/path, gs://, az://; off = no files"
    )
    max_file: Bytes = Field(2**30, description="bytes of one file")
    session_quota: Bytes = Field(4 * 2**30, description="bytes of all files that a session has sent")
    files_quota: Bytes = Field(32 * 2**30, description="bytes of all files")
    file_ttl: PositiveSeconds = Field(7 * 86400.0, description="a file is kept for so long")
    namespace: Annotated[str, AfterValidator(_namespace)] = Field(
        "causerie", description="prefix of every key and channel in the store"
    )
    min_replicas: int = Field(0, ge=0, description="replicas that have a message before it is acknowledged")
    gateway_id: Annotated[str, AfterValidator(_identifier)] = Field(
        default_factory=lambda: f"g-{secrets.token_hex(4)}", description="name of the gateway; random"
    )
    processes: int = Field(1, ge=1, le=256, description="gateway: processes on the same ports")
    data_dir: Path = Field(default_factory=default_data_dir, description="serve: where everything is kept")
    appendfsync: Literal["always", "everysec", "no"] = Field(
        "always", description="serve: when the store writes to disk"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level logged")

    @model_validator(mode="before")
    @classmethod
    def _read_token_file(cls, values: dict[str, Any]) -> dict[str, Any]:
        path = values.get("admin_token_file")
        if not path or values.get("admin_token"):
            return values
        try:
            return values | {"admin_token": Path(path).read_text(encoding="utf-8").strip()}
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"--admin-token-file {path}: {_reason(error)}") from error

    @model_validator(mode="after")
    def _check_together(self) -> "Settings":
        if self.heartbeat_ttl <= self.heartbeat_interval:
            raise ValueError("--heartbeat-ttl must be longer than --heartbeat-interval")
        if self.min_replicas and self.redis_url.startswith("redis+cluster:"):
            raise ValueError("--min-replicas: a Cluster cannot be waited for; use Sentinel")
        ports = [port for port in (self.http_port, self.tcp_port, self.irc_port) if port not in (0, "auto")]
        if len(ports) != len(set(ports)):
            raise ValueError("--http-port, --tcp-port and --irc-port must differ")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Leave out the sources that the contract does not name (`.env`, directories of secrets)."""
        return (init_settings, env_settings)

    @property
    def public_redis_url(self) -> str:
        """The store's address without the password, for logs."""
        return without_password(self.redis_url)

    def environment(self) -> dict[str, str]:
        """Return the environment variables that give a child process exactly these settings."""
        values: dict[str, str] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name == "admin_token_file" or value is None:
                continue
            plain = value.get_secret_value() if isinstance(value, SecretStr) else value
            values[ENVIRONMENT_PREFIX + name.upper()] = str(plain)
        return values


def without_password(url: str) -> str:
    """Return the URL with its user and password hidden."""
    parts = urlsplit(url)
    credentials, at, hosts = parts.netloc.rpartition("@")
    netloc = f"***@{hosts}" if at and credentials else parts.netloc
    return urlunsplit(parts._replace(netloc=netloc, query=""))


class OneLineParser(argparse.ArgumentParser):
    """An argparse parser whose complaints are one line and which guesses no abbreviations."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """End the program."""
        self.exit(2, f"{self.prog}: {message}\n")


def from_command_line(argv: Sequence[str], program: str) -> Settings:
    """Return the settings of `program` (`causerie gateway`, ...) from its arguments.

    Bad ones end the program: one line on standard error, exit status 2.
    """
    parser = OneLineParser(prog=program, description="Each option is also CAUSERIE_<NAME>, and a key of the file.")
    parser.add_argument("--version", action="version", version=f"causerie {__version__}")
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=os.environ.get("CAUSERIE_CONFIG") or None,
        help="TOML file with settings",
    )
    for name, field in Settings.model_fields.items():
        parser.add_argument(option(name), metavar="VALUE", default=argparse.SUPPRESS, help=field.description)
    flags = vars(parser.parse_args(argv))
    config = flags.pop("config")
    try:
        return Settings(**_merged(flags, _from_file(config) if config else {}))
    except ValidationError as error:
        parser.error(complaint(error))
    except ValueError as error:
        parser.error(str(error))


def option(name: str) -> str:
    """Return the command-line spelling of a setting."""
    return "--" + name.replace("_", "-")


def complaint(error: ValidationError) -> str:
    """Return the first problem in one line that names the option and shows no value given for a secret."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    return f"{option(str(first['loc'][0]))}: {message}" if first["loc"] else message


def _merged(flags: dict[str, Any], file: dict[str, Any]) -> dict[str, Any]:
    """Return what beats the environment and what fills it up; the environment itself is read by Settings."""
    given = {name for name in Settings.model_fields if os.environ.get(ENVIRONMENT_PREFIX + name.upper())}
    if given & {"admin_token", "admin_token_file"}:
        given |= {"admin_token", "admin_token_file"}
    if "admin_token_file" in flags:
        flags = {"admin_token": None, **flags}
    return {name: value for name, value in file.items() if name not in given} | flags


def _from_file(path: str) -> dict[str, Any]:
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"--config {path}: {_reason(error)}") from error
    values = {name.replace("-", "_"): value for name, value in values.items()}
    unknown = sorted(values.keys() - Settings.model_fields.keys())
    if unknown:
        raise ValueError(f"--config {path}: unknown setting: {', '.join(unknown)}")
    return values


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
