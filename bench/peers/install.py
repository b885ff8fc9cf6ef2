"""What the peers need from package registries, in the user's cache: never in the repo or its environment."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PYTHON = (
    "channels==4.3.2",
    "channels_redis==4.3.0",
    "django==5.2.19",
    "fastapi==0.165.0",
    "hiredis==3.5.0",
    "httptools==0.9.0",
    "python-socketio==5.18.1",
    "redis==8.1.0",
    "uvicorn==0.54.0",
    "uvloop==0.23.0",
    "websockets==17.4",
)
NODE = ("@socket.io/redis-adapter@8.3.0", "ioredis@6.0.0", "redis@6.3.1", "socket.io@4.8.4", "ws@8.23.0")


class Absent(Exception):
    """A peer cannot be measured on this machine; the message says what to install."""


def on_path(program: str, how: str) -> str:
    """Where a program is; raise Absent with a line on how to get it."""
    # Debian keeps daemons in /usr/sbin, which is not on everybody's PATH.
    found = shutil.which(program, path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))
    if not found:
        raise Absent(f"{program} is not on the PATH: {how}")
    return found


def python() -> str:
    """The interpreter of an environment with the Python peers."""
    folder = _folder("python", PYTHON)
    interpreter = folder / "bin" / "python"
    install = [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PYTHON]
    _once(folder, [sys.executable, "-m", "venv", folder], install)
    return str(interpreter)


def node() -> tuple[str, dict[str, str]]:
    """Node and the environment in which it finds the peers' packages."""
    program = on_path("node", "install Node.js 20 or newer")
    npm = on_path("npm", "install npm")
    folder = _folder("node", NODE)
    _once(folder, [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder, *NODE])
    return program, {"NODE_PATH": str(folder / "node_modules"), "NODE_ENV": "production"}


def version(packages: Sequence[str], name: str) -> str:
    """The pinned version of one of them."""
    return next(p[len(name) :].lstrip("=@") for p in packages if p.startswith((f"{name}=", f"{name}@")))


def _folder(kind: str, packages: Sequence[str]) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    pins = hashlib.sha256("\n".join(packages).encode()).hexdigest()[:12]
    return cache / "causerie-bench" / f"{kind}-{pins}"


def _once(folder: Path, *commands: Sequence[str | Path]) -> None:
    """Run commands that fill a folder, unless they have run to their end before."""
    stamp = folder / ".installed"
    if stamp.exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print(f"installing into {folder} ...", file=sys.stderr)
    for command in commands:
        subprocess.run(command, check=True, stdout=sys.stderr, cwd=folder)
    stamp.touch()
