"""Linux's io_uring, as far as it is needed here: many sends of one moment in one system call.

The kernel is told what to send in a table that it shares with us (`struct io_uring_sqe` of linux/io_uring.h, 64 bytes
an entry) and answers in another (`struct io_uring_cqe`, 16 bytes); see io_uring(7), io_uring_setup(2) and
io_uring_enter(2). Python fills a column of a table at once, so a send costs it a fraction of a call of its own.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import struct
import sys
from array import array
from typing import Final

SETUP: Final = 425
ENTER: Final = 426
"""Numbers of the system calls, the same on these architectures."""
MACHINES: Final = frozenset({"x86_64", "aarch64", "riscv64", "ppc64le", "loongarch64"})
"""All of them put the low half of a number first: of an answer's `user_data` only that is looked at."""
CQSIZE: Final = 1 << 3
SUBMIT_ALL: Final = 1 << 7
SINGLE_ISSUER: Final = 1 << 12
DEFER_TASKRUN: Final = 1 << 13
"""Flags of io_uring_setup; the youngest are there since Linux 6.1."""
SINGLE_MMAP: Final = 1
AT_ENTRIES: Final = 0x10000000
GETEVENTS: Final = 1
SEND: Final = 26
MSG_DONTWAIT: Final = 0x40
MSG_NOSIGNAL: Final = 0x4000
PARAMS: Final = struct.Struct("=10I8IQ8IQ")
"""`struct io_uring_params`; from 10 on where the parts of the one ring are, from 19 on those of the other."""
ENTRY: Final = struct.Struct("=BBHiQQIIQ24x")
"""opcode, flags, ioprio, fd, off, addr, len, msg_flags, user_data."""
WRAP: Final = 0xFFFFFFFF

_system_call = ctypes.CDLL(None, use_errno=True).syscall
_system_call.restype = ctypes.c_long


class Ring:
    """Sends for the thread that made it: each is done, or refused by the kernel, when `send` returns.

    An entry and its answer have the same index in their tables: nothing is asked before all is answered.
    """

    def __init__(self, entries: int = 1024, size: int = 1 << 20) -> None:
        """A ring of `entries` (a power of two) and a buffer of `size` bytes from which is sent.

        Raises OSError where the kernel has no io_uring of this kind, or does not let us.
        """
        if sys.platform != "linux" or platform.machine() not in MACHINES:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        params = ctypes.create_string_buffer(PARAMS.size)
        flags = CQSIZE | SUBMIT_ALL | SINGLE_ISSUER | DEFER_TASKRUN
        PARAMS.pack_into(params, 0, entries, entries, flags, *[0] * 25)
        self._fd = _system_call(SETUP, entries, params)
        if self._fd < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
        try:
            self._map(entries, size, PARAMS.unpack(params))
        except BaseException:
            self.close()
            raise

    def _map(self, entries: int, size: int, found: tuple[int, ...]) -> None:
        sq, cq = found[10:], found[19:]
        if not found[5] & SINGLE_MMAP or found[:2] != (entries, entries):
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        table = mmap.mmap(self._fd, ENTRY.size * entries, offset=AT_ENTRIES)
        for i in range(entries):
            ENTRY.pack_into(table, ENTRY.size * i, SEND, 0, 0, -1, 0, 0, 0, MSG_DONTWAIT | MSG_NOSIGNAL, i)
        self._fds = memoryview(table).cast("i")[1::16]
        self._places = memoryview(table).cast("Q")[2::8]
        self._sizes = memoryview(table).cast("i")[6::16]

        words = memoryview(mmap.mmap(self._fd, max(sq[6] + 4 * entries, cq[5] + 16 * entries))).cast("I")
        words[sq[6] // 4 : sq[6] // 4 + entries] = array("I", range(entries))
        self._words = words
        self._asked, self._ask, self._heard, self._answered = sq[0] // 4, sq[1] // 4, cq[0] // 4, cq[1] // 4
        answers = words[cq[5] // 4 : cq[5] // 4 + 4 * entries].cast("B").cast("i")
        self._entry_of_result, self._results = answers[0::4], answers[2::4]

        self._entries = entries
        self._buffer = mmap.mmap(-1, size)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._buffer))
        self._used = 0

    def close(self) -> None:
        """Send nothing any more. The kernel has all of it back when nobody holds the object."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def keep(self, data: bytes) -> int:
        """Copy something to be sent; where it is then. Raises IndexError when it does not fit any more."""
        begin, end = self._used, self._used + len(data)
        self._buffer[begin:end] = data
        self._used = end
        return self._address + begin

    def fits(self, size: int) -> bool:
        """Whether so many bytes can be kept before the next `send`."""
        return self._used + size <= len(self._buffer)

    def forget(self) -> None:
        """Keep nothing any more."""
        self._used = 0

    def send(self, fds: array[int], places: array[int], sizes: array[int]) -> array[int]:
        """Send `sizes[i]` bytes kept at `places[i]` to the socket `fds[i]`, no socket twice, waiting for none; nothing
        is kept any more then. The arrays are of type i, Q and i.

        Returns for each what send(2) would have: the bytes that were taken, or a negative errno. Raises OSError when
        the kernel does not tell: then this ring is of no use any more.
        """
        self.forget()
        results = array("i")
        done = 0
        while done < len(fds):
            first = self._words[self._ask] % self._entries
            end = done + min(len(fds) - done, self._entries - first)
            results.frombytes(self._send(first, fds[done:end], places[done:end], sizes[done:end]))
            done = end
        return results

    def _send(self, first: int, fds: array[int], places: array[int], sizes: array[int]) -> bytes:
        words, count, last = self._words, len(fds), first + len(fds)
        self._fds[first:last] = fds
        self._places[first:last] = places
        self._sizes[first:last] = sizes
        before = words[self._ask]
        words[self._ask] = (before + count) & WRAP
        _system_call(ENTER, self._fd, count, 0, 0, None, 0)  # the tables say what came of it
        asked = (words[self._asked] - before) & WRAP
        words[self._ask] = words[self._asked]
        while missing := (before + asked - words[self._answered]) & WRAP:
            if _system_call(ENTER, self._fd, 0, missing, GETEVENTS, None, 0) < 0 and ctypes.get_errno() != errno.EINTR:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        words[self._heard] = words[self._answered]
        results = self._results[first : first + asked]
        if results == sizes:
            return results.tobytes()
        return array("i", self._in_order(first, results.tolist()) + [-errno.EAGAIN] * (count - asked)).tobytes()

    def _in_order(self, first: int, results: list[int]) -> list[int]:
        """By entry; the kernel may answer in another order."""
        entries = self._entry_of_result[first : first + len(results)].tolist()
        return [result for _, result in sorted(zip(entries, results, strict=True))]
