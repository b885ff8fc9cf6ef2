"""The Lua scripts: found by name, run by EVALSHA, loaded on the way when the server does not know them.

Not a Function library: loading one would change the code under gateways of another version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any

from causerie.store.resp import Arg, Done, Executor, ReplyError, all_done

_PRELUDES = {
    "room": ("_log", "_room"),
    "session": ("_log", "_session"),
    "dm": ("_log", "_session", "_direct"),
    "game": ("_log", "_game"),
}


def _load() -> dict[str, tuple[str, str]]:
    folder = resources.files("causerie.store") / "lua"
    text = {f.name[:-4]: f.read_text("utf-8") for f in folder.iterdir() if f.name.endswith(".lua")}
    scripts = {}
    for name, body in text.items():
        if not name.startswith("_"):
            preludes = _PRELUDES.get(name.partition("_")[0], ("_log",))
            source = "".join(text[prelude] for prelude in preludes) + body
            scripts[name] = (hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest(), source)
    return scripts


SCRIPTS = _load()


class Scripts:
    """Runs scripts on an executor."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.calls = 0

    async def __call__(self, name: str, keys: Sequence[str], *args: Arg) -> Any:
        """The reply of one script. Raises `Unavailable`; an error in the script itself is a bug and
        `ReplyError`.
        """
        sha, source = SCRIPTS[name]
        self.calls += 1
        try:
            return await self._executor.execute("EVALSHA", sha, len(keys), *keys, *args)
        except ReplyError as error:
            if error.code != "NOSCRIPT":
                raise
        return await self._executor.execute("EVAL", source, len(keys), *keys, *args)

    def begin(self, done: Done, name: str, keys: Sequence[str], *args: Arg) -> None:
        """Run one script at once; `done` is called with what comes of it, later (`Executor.begin`)."""
        sha, source = SCRIPTS[name]
        self.calls += 1

        def answered(reply: Any) -> None:
            if isinstance(reply, ReplyError) and reply.code == "NOSCRIPT":
                self._executor.begin(done, "EVAL", source, len(keys), *keys, *args)
            else:
                done(reply)

        self._executor.begin(answered, "EVALSHA", sha, len(keys), *keys, *args)

    async def many(self, name: str, calls: Iterable[tuple[Sequence[str], Sequence[Arg]]]) -> list[Any]:
        """The replies of many calls of one script, in one write, in order. Raises `Unavailable` if any was
        not answered.
        """
        sha, source = SCRIPTS[name]
        listed = [(len(keys), *keys, *args) for keys, args in calls]
        self.calls += len(listed)
        replies = await self._executor.execute_many([("EVALSHA", sha, *call) for call in listed])
        unknown = [i for i, reply in enumerate(replies) if isinstance(reply, ReplyError) and reply.code == "NOSCRIPT"]
        if unknown:
            again = await self._executor.execute_many([("EVAL", source, *listed[i]) for i in unknown])
            for i, reply in zip(unknown, again, strict=True):
                replies[i] = reply
        return all_done(replies)
