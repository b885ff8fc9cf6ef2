"""An S3 server in a process of its own (moto's), and the places that files of a test may lie in."""

import secrets
import sys
from pathlib import Path
from typing import NamedTuple

import httpx

from tests.support.processes import Process
from tests.support.store import free_port
from tests.support.timing import PATIENCE

SERVER = """
import sys, time
from moto.server import ThreadedMotoServer
ThreadedMotoServer("127.0.0.1", int(sys.argv[1]), verbose=False).start()
print("up", flush=True)
time.sleep(1e9)
"""


class S3(Process):
    """The server. `env` is what leads the programs, and this process, to it."""

    def __init__(self) -> None:
        self.port = free_port()
        super().__init__([sys.executable, "-c", SERVER, str(self.port)], name="s3")
        self.wait_for_line(lambda line: line == "up", "`up`")

    @property
    def env(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }

    def bucket(self) -> str:
        """The URL of a new bucket."""
        name = f"files-{secrets.token_hex(4)}"
        httpx.put(f"http://127.0.0.1:{self.port}/{name}", timeout=PATIENCE, trust_env=False).raise_for_status()
        return f"s3://{name}/kept"


class Place(NamedTuple):
    """A place for files, and the environment that a program needs to reach it."""

    url: str
    env: dict[str, str]


def folder(path: Path) -> Place:
    """A folder."""
    return Place(f"file://{path}", {})
