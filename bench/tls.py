"""Causerie behind HAProxy, where TLS ends: what it costs there. Another on the load's side speaks TLS for it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench import servers
from bench.machine import LOAD_CORES, scratch
from bench.servers import Served, free_port, started, wait_for_port

MOST: Final = 9000
"""Connections of a scenario: a balancer needs two descriptors for each."""

_CONFIGURATION = """
global
    nbthread 1
    maxconn 9500
    ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
    mode tcp
    timeout connect 3s
    timeout client 1d
    timeout server 1d
listen talk
    bind {bind}
    server there {server}
"""


def _configured(folder: Path, name: str, bind: str, server: str) -> list[str]:
    path = folder / f"{name}.cfg"
    path.write_text(_CONFIGURATION.format(bind=bind, server=server))
    return ["haproxy", "-q", "-db", "-f", str(path)]


def _certificate(folder: Path) -> Path:
    """A key and a certificate of its own, in one file as HAProxy wants them."""
    key, certificate, both = folder / "key.pem", folder / "certificate.pem", folder / "both.pem"
    kind = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    words = ["openssl", "req", *kind.split(), "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(words, check=True, stderr=subprocess.DEVNULL)
    both.write_text(certificate.read_text() + key.read_text())
    return both


@contextlib.contextmanager
def causerie(**settings: object) -> Iterator[Served]:
    """A chat whose balancer ends TLS; its ports are those of the load's own balancer."""
    if shutil.which("haproxy") is None:
        raise RuntimeError("haproxy is not installed: apt-get install haproxy")
    proxies = {"trusted_proxies": "127.0.0.0/8", **settings}
    with scratch() as folder, servers.causerie(**proxies) as served:
        outside, inside = free_port(), free_port()
        ends = _configured(
            folder,
            "balancer",
            f"127.0.0.1:{outside} ssl crt {_certificate(folder)}",
            f"127.0.0.1:{served.ports[0]} send-proxy-v2",
        )
        begins = _configured(folder, "client", f"127.0.0.1:{inside}", f"127.0.0.1:{outside} ssl verify none")
        with (
            started(ends, stdout=subprocess.DEVNULL) as balancer,
            started(begins, stdout=subprocess.DEVNULL, cores=LOAD_CORES),
        ):
            wait_for_port(outside)
            wait_for_port(inside)
            yield Served([inside], {**served.pids, "balancer": balancer.pid})
