"""IRC servers of the distribution, told to trust this machine: no look-ups, no limits of floods, room for everybody."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.load import Dialect
from bench.machine import scratch
from bench.peers.install import on_path
from bench.servers import Served, free_port, started, wait_for_port

# A sender does not get its own message back: the member beside it sees it for the sender.
DIALECT = Dialect(
    {
        "echo": 0,
        "hello": "NICK b%i\r\nUSER b 0 * :b\r\n",
        "ready": " 001 ",
        "join": "JOIN #r%r\r\n",
        "joined": " 366 ",
        "prefix": "PRIVMSG #r%r :",
        "suffix": "\r\n",
        "ping": "PING",
        "pong": "PONG%t\n",
        "error": "ERROR",
    }
)

# How many may be connecting at once. ngIRCd keeps little for one that has not read yet: a room must not fill too fast;
# InspIRCd welcomes those who have come once a second.
DIALECT_NGIRCD = Dialect(DIALECT.options | {"ramp": 20})
DIALECT_INSPIRCD = Dialect(DIALECT.options | {"ramp": 1000})

NGIRCD = """\
[Global]
Name = irc.local
Info = bench
Listen = 127.0.0.1
Ports = {port}
ServerUID = 65534
ServerGID = 65534
[Limits]
MaxConnections = 0
MaxConnectionsIP = 0
MaxJoins = 0
MaxNickLength = 20
MaxPenaltyTime = 0
[Options]
DNS = no
Ident = no
PAM = no
RequireAuthPing = no
SyslogFacility = local1
"""

INSPIRCD = """\
<server name="irc.local" description="bench" network="bench" id="001">
<admin name="bench" nick="bench" email="bench@irc.local">
<bind address="127.0.0.1" port="{port}" type="clients">
<connect allow="*" timeout="60" pingfreq="120" hardsendq="100000000" softsendq="100000000" recvq="1000000"
 threshold="1000000" commandrate="1000000000" fakelag="no" localmax="100000" globalmax="100000" maxconnwarn="no"
 limit="100000" resolvehostnames="no" useident="no" maxchans="100">
<performance softlimit="100000" somaxconn="4096" netbuffersize="65535" quietbursts="yes">
<limits maxnick="20" maxline="1024">
<pid file="{folder}/pid">
<log method="file" type="*" level="default" target="{folder}/log">
"""


@contextlib.contextmanager
def _daemon(name: str, config: str, words: Callable[[str, Path], list[str]], version: str) -> Iterator[Served]:
    program = on_path(name, f"apt-get install {name}")
    found = re.search(version, _said(program, "--version"))
    with scratch() as folder:
        port = free_port()
        file = folder / "server.conf"
        file.write_text(config.format(port=port, folder=folder), encoding="utf-8")
        with started(words(program, file), stdout=subprocess.DEVNULL, quiet=True) as process:
            wait_for_port(port)
            yield Served([port], {"server": process.pid}, about=f"{name} {found[1] if found else ''}")


def ngircd() -> contextlib.AbstractContextManager[Served]:
    """The small one."""
    return _daemon("ngircd", NGIRCD, lambda program, file: [program, "-n", "-f", str(file)], r"ngIRCd (\d[\d.]*)")


def inspircd() -> contextlib.AbstractContextManager[Served]:
    """The modular one."""
    return _daemon(
        "inspircd",
        INSPIRCD,
        lambda program, file: [program, "--config", str(file), "--nofork", "--runasroot"],
        r"InspIRCd-(\d[\d.]*)",
    )


@contextlib.contextmanager
def ergo() -> Iterator[Served]:
    """The one with a history, on its own default settings without its limits."""
    program = on_path("ergo", "see its manual (version 2)")
    port = free_port()
    with scratch() as folder:
        file = folder / "ircd.yaml"
        file.write_text(_said(program, "defaultconfig"), encoding="utf-8")
        settings = {
            "SERVER__LISTENERS": f'{{"127.0.0.1:{port}": {{}}}}',
            "SERVER__IP_LIMITS__COUNT": "false",
            "SERVER__IP_LIMITS__THROTTLE": "false",
            "SERVER__LOOKUP_HOSTNAMES": "false",
            "FAKELAG__ENABLED": "false",
            "DATASTORE__PATH": str(folder / "ircd.db"),
        }
        environment = {"GOMAXPROCS": "1"} | {f"ERGO__{name}": value for name, value in settings.items()}
        subprocess.run([program, "initdb", "--conf", file], env=os.environ | environment, check=True)
        words = [program, "run", "--conf", str(file)]
        with started(words, environment, stdout=subprocess.DEVNULL, quiet=True) as process:
            wait_for_port(port)
            yield Served([port], {"server": process.pid}, about=_said(program, "--version").strip())


def _said(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout
