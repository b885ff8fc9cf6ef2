"""What leaves in a round of writing, on its way to the kernel past the transports.

`Together` asks for all of it at once (`uring.py`); `OneByOne`, where that is not to be had, by a call each. No
connection is in a round twice. What the kernel does not take is `left` to the connection, whose transport knows what to
do.
"""

from __future__ import annotations

import logging
import os
from array import array
from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from gateway.uring import Ring

FEW: Final = 32
"""A round of fewer writes is made one by one: to ask for several at once costs as much as some thirty save."""

log = logging.getLogger(__name__)


class Target(Protocol):
    """A connection whose transport holds no bytes."""

    fd: int

    def left(self, data: bytes) -> None:
        """This was not taken."""

    def abort(self) -> None:
        """End: nobody knows what was taken."""


class Writer(Protocol):
    """Takes a round of writing: `each` and `all` in any order, then `done`."""

    def each(self, target: Target, data: bytes) -> None:
        """Something for one."""

    def all(self, targets: Iterable[Target], fds: array[int], data: bytes) -> None:
        """The same for many, whose sockets are `fds` (of type i). `targets` is iterated over once
        at most, not later than in `done`.
        """

    def done(self) -> None:
        """The round is over: everything is written, or left."""

    def close(self) -> None:
        """No round comes any more."""


def write(target: Target, data: bytes) -> None:
    """Write at once."""
    try:
        taken = os.write(target.fd, data)
    except OSError:  # full, or broken
        taken = 0
    if taken != len(data):
        leave(target, data[taken:])


def leave(target: Target, data: bytes) -> None:
    """Leave what was not taken; a bug in there costs nobody else the rest of theirs."""
    try:
        target.left(data)
    except Exception:
        log.exception("the rest of a write is lost")
        target.abort()


class OneByOne:
    """A system call a write."""

    each = staticmethod(write)

    @staticmethod
    def all(targets: Iterable[Target], fds: array[int], data: bytes) -> None:
        """The same for many."""
        del fds
        for target in targets:
            write(target, data)

    def done(self) -> None:
        """Nothing is left to do."""

    def close(self) -> None:
        """Nothing is held."""


class Together:
    """A system call a round."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._begin()

    def _begin(self) -> None:
        self._parts: list[tuple[Iterable[Target], bytes]] = []
        """Who gets what. Looked into only where something is not taken: to touch a thousand objects costs as much as
        ten writes.
        """
        self._fds, self._places, self._sizes = array("i"), array("Q"), array("i")

    def each(self, target: Target, data: bytes) -> None:
        """Something for one; the same object as before is kept once."""
        if self._parts and self._parts[-1][1] is data:
            place = self._places[-1]
        elif self._fits(data):
            place = self._ring.keep(data)
        else:
            write(target, data)
            return
        self._parts.append(((target,), data))
        self._fds.append(target.fd)
        self._places.append(place)
        self._sizes.append(len(data))

    def all(self, targets: Iterable[Target], fds: array[int], data: bytes) -> None:
        """The same for many."""
        if not fds:  # a part without a place would lend its neighbour's to the next
            return
        if not self._fits(data):
            OneByOne.all(targets, fds, data)
            return
        count = len(fds)
        self._parts.append((targets, data))
        self._fds += fds
        self._places += array("Q", (self._ring.keep(data),)) * count
        self._sizes += array("i", (len(data),)) * count

    def _fits(self, data: bytes) -> bool:
        """Whether the ring can keep this, after what it has is written if need be."""
        if not self._ring.fits(len(data)):
            self.done()
        return self._ring.fits(len(data))

    def done(self) -> None:
        """Write what has gathered."""
        parts, fds, places, sizes = self._parts, self._fds, self._places, self._sizes
        self._begin()
        if len(fds) < FEW:
            self._ring.forget()
            for target, data in _each(parts):
                write(target, data)
            return
        try:
            taken = self._ring.send(fds, places, sizes)
        except BaseException:
            for target, _ in _each(parts):
                target.abort()
            raise
        if taken != sizes:
            for (target, data), result in zip(_each(parts), taken, strict=True):
                if result != len(data):
                    leave(target, data[max(result, 0) :])

    def close(self) -> None:
        """Give the ring back."""
        self._ring.close()


def _each(parts: list[tuple[Iterable[Target], bytes]]) -> Iterator[tuple[Target, bytes]]:
    return ((target, data) for targets, data in parts for target in targets)


def writer() -> Writer:
    """The best that this machine lets us have."""
    try:
        return Together(Ring())
    except OSError as error:  # another system, an old one, or forbidden, as Docker does
        log.debug("no io_uring (%s): a write to many clients takes a system call for each", error.strerror)
        return OneByOne()
