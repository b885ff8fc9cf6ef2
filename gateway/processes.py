"""`--processes N`: N gateways on the same ports, which live and die together under one parent.

The parent only holds the ports and passes signals on. Each child listens with SO_REUSEPORT, as its settings
say that there are several, and the kernel spreads the connections.
"""

import contextlib
import ctypes
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Literal

from causerie.settings import Settings

_PR_SET_PDEATHSIG = 1
_STOPPING = (signal.SIGINT, signal.SIGTERM)


def run(settings: Settings, serve: Callable[[Settings], int]) -> int:
    """Run `serve` in `settings.processes` children; return 0 if all ended with 0, else the worst."""
    try:
        held, settings = _hold_ports(settings)
    except OSError as error:
        print(f"causerie gateway: {error.strerror or error}", file=sys.stderr)
        return 1
    family = _Family()
    family.handle_signals()
    for number in range(1, settings.processes + 1):
        family.start(settings.model_copy(update={"gateway_id": f"{settings.gateway_id}-{number}"}), serve)
    ready = family.ready()
    if ready is not None:
        print(ready.replace(f"={settings.gateway_id}-1", f"={settings.gateway_id}", 1), flush=True)
    status = family.wait()
    for holder in held:
        holder.close()
    return status


class _Family:
    """The children of one parent."""

    def __init__(self) -> None:
        self._pids: set[int] = set()
        self._outputs: list[int] = []
        self._worst = 0
        self._stopping = False

    def handle_signals(self) -> None:
        """Pass every request to stop on to all children."""
        for number in _STOPPING:
            signal.signal(number, self._stop)

    def start(self, settings: Settings, serve: Callable[[Settings], int]) -> None:
        """Fork a child; nothing has started a thread or an event loop yet."""
        parent = os.getpid()
        output, its_stdout = os.pipe()
        # A signal waits until the child handles it in its own way, and until the parent knows whom to pass it on to.
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
        pid = os.fork()
        if pid == 0:
            os._exit(_be_a_child(parent, its_stdout, settings, serve))
        os.close(its_stdout)
        self._outputs.append(output)
        self._pids.add(pid)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
        if self._stopping:  # the signal came before there was anybody to pass it on to
            self._stop()

    def ready(self) -> str | None:
        """Return the first child's `ready` line once all are ready, None if one ended before."""
        lines = []
        for output in self._outputs:
            line = os.fdopen(os.dup(output), encoding="utf-8").readline()
            if not line:
                self._stop()
                return None
            lines.append(line.rstrip("\n"))
        return lines[0]

    def wait(self) -> int:
        """Wait for all; when one ends, in whatever way, the others are stopped."""
        while self._pids:
            pid, status = os.wait()
            if pid not in self._pids:
                continue
            self._pids.remove(pid)
            code = os.waitstatus_to_exitcode(status)
            if code == -signal.SIGTERM and self._stopping:
                code = 0  # it had not come so far as to have anything to end
            if code:
                print(f"causerie gateway: a process ended with {code}", file=sys.stderr)
                self._worst = max(self._worst, 2 if code == 2 else 1)
            self._stop()
        return self._worst

    def _stop(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        self._stopping = True
        for pid in self._pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


def _be_a_child(parent: int, stdout: int, settings: Settings, serve: Callable[[Settings], int]) -> int:
    try:
        os.setsid()  # a terminal's ^C goes to the parent, and once from there to all
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above; no signal will come
            return 1
        for number in _STOPPING:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
        os.dup2(stdout, sys.stdout.fileno())
        os.close(stdout)
        return serve(settings)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    except BaseException:  # noqa: BLE001 - a child ends here and must not go on as a second parent
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _hold_ports(settings: Settings) -> tuple[list[socket.socket], Settings]:
    """Choose the ports that are `auto` and keep all from other programs: bound, without listening.

    Raise OSError if one is taken.
    """
    held: list[socket.socket] = []
    chosen: dict[str, int] = {}
    for name in ("http_port", "tcp_port"):
        port: int | Literal["auto"] = getattr(settings, name)
        if port == 0:
            continue
        number = 0 if port == "auto" else port
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # With SO_REUSEPORT alone, two gateways that were given one port by mistake would silently share it.
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as error:
                raise OSError(error.errno, f"{settings.host}:{number}: {error.strerror}") from error
        holder = socket.socket(family, kind, protocol)
        held.append(holder)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(address)
        chosen[name] = holder.getsockname()[1]
    return held, settings.model_copy(update=chosen)
