"""Pieces of work in this process, or on a Dask cluster: the same functions and the same answers, in the same order.

Whoever distributes work gives a function of module level, one shared object and many small pieces. The shared object
travels to each worker once; results come back in the order of their pieces, a few at a time.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from synthrelease.errors import ClusterError, SynthreleaseError

if TYPE_CHECKING:
    from distributed import Client, Future

_LOG = logging.getLogger(__name__)
Shared = TypeVar("Shared")
Piece = TypeVar("Piece")
Result = TypeVar("Result")

IN_HAND = 3  # pieces a worker thread has before it: one it works on, one that travels, one that waits
ATTEMPTS = 4  # times that lost work is given out again before the run ends with an error
LOCAL = "local:"


class Workers(Protocol):
    """Whoever does pieces of work."""

    @property
    def count(self) -> int:
        """How many pieces are worked on at once; 1 for this process."""

    def each(
        self, function: Callable[[Shared, Piece], Result], shared: Shared, pieces: Iterable[Piece]
    ) -> Iterator[Result]:
        """Yield ``function(shared, piece)`` of every piece, in order."""

    def across(
        self, function: Callable[[Shared, Piece], Result], shards: Sequence[Shared], pieces: Iterable[Piece]
    ) -> Iterator[list[Result]]:
        """Yield, of every piece in order, ``function(shard, piece)`` of every shard; a worker holds some shards."""


class InThisProcess:
    """Does everything here, one piece after the other."""

    count = 1

    def each(
        self, function: Callable[[Shared, Piece], Result], shared: Shared, pieces: Iterable[Piece]
    ) -> Iterator[Result]:
        """Yield ``function(shared, piece)`` of every piece, in order."""
        return (function(shared, piece) for piece in pieces)

    def across(
        self, function: Callable[[Shared, Piece], Result], shards: Sequence[Shared], pieces: Iterable[Piece]
    ) -> Iterator[list[Result]]:
        """Yield, of every piece in order, ``function(shard, piece)`` of every shard."""
        return ([function(shard, piece) for shard in shards] for piece in pieces)


HERE: Workers = InThisProcess()


class Cluster:
    """Does pieces on the workers of a Dask cluster; work that a dying worker held is given out again.

    Raises (while results are taken):
        ClusterError: A piece was lost more often than `ATTEMPTS`, or the scheduler is gone. Nothing is passed over.
        SynthreleaseError: What a worker raised.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def count(self) -> int:
        """Threads of all workers that are there now, and at least 1."""
        return max(1, sum(map(int, self._client.nthreads().values())))

    def each(
        self, function: Callable[[Shared, Piece], Result], shared: Shared, pieces: Iterable[Piece]
    ) -> Iterator[Result]:
        """Yield ``function(shared, piece)`` of every piece, in order."""
        return (found[0] for found in self._done(function, [shared], pieces, everywhere=True))

    def across(
        self, function: Callable[[Shared, Piece], Result], shards: Sequence[Shared], pieces: Iterable[Piece]
    ) -> Iterator[list[Result]]:
        """Yield, of every piece in order, ``function(shard, piece)`` of every shard; each shard lies on one worker."""
        return self._done(function, shards, pieces, everywhere=False)

    def _done(
        self, function: Callable[[Any, Any], Any], shards: Sequence[Any], pieces: Iterable[Any], *, everywhere: bool
    ) -> Iterator[list[Any]]:
        # `each` is the case of one shard that every worker holds.
        there = self._scatter(shards, everywhere)
        waiting: deque[tuple[Any, list[Future]]] = deque()
        rest = iter(pieces)
        lost = 0
        try:
            while True:
                while len(waiting) < IN_HAND * self.count:
                    piece = next(rest, _END)
                    if piece is _END:
                        break
                    waiting.append((piece, self._submitted(function, there, piece)))
                if not waiting:
                    return
                try:
                    yield self._gathered(waiting[0][1])
                except _LostError as error:
                    lost += 1
                    if lost > ATTEMPTS:
                        raise ClusterError(
                            f"Work was lost {lost} times, the last time because: {error}.",
                            "Give each worker more memory, or look at its log. What is finished is kept: run the same "
                            "command again.",
                        ) from error
                    _LOG.warning("A worker was lost (%s): its work is given out again.", error)
                    # What workers held died with them, and so did the pieces that needed it.
                    there = self._scatter(shards, everywhere)
                    waiting = deque((piece, self._submitted(function, there, piece)) for piece, _ in waiting)
                    continue
                waiting.popleft()
        finally:
            for _, futures in waiting:
                self._client.cancel(futures)

    def _scatter(self, shards: Sequence[Any], everywhere: bool) -> list[Future]:
        with _explained():
            self._client.wait_for_workers(1, timeout=_patience())
            found: list[Future] = self._client.scatter(list(shards), broadcast=everywhere, hash=False)
        return found

    def _submitted(self, function: Callable[[Any, Any], Any], there: Sequence[Future], piece: Any) -> list[Future]:
        with _explained():
            return [self._client.submit(function, shard, piece, pure=False, retries=ATTEMPTS) for shard in there]

    def _gathered(self, futures: Sequence[Future]) -> list[Any]:
        from concurrent.futures import CancelledError

        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        try:
            with _explained():
                return list(self._client.gather(list(futures)))
        except (KilledWorker, CancelledError, FutureCancelledError) as error:
            raise _LostError(str(error).splitlines()[0]) from error


class _LostError(Exception):
    """A piece died with its worker."""


_END = object()


def _patience() -> float:
    """Return for how many seconds a cluster without workers is waited for."""
    return float(os.environ.get("SYNTHRELEASE_CLUSTER_PATIENCE", "300"))


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn what a lost scheduler or an empty cluster raises into an error with its remedy."""
    from distributed.comm import CommClosedError

    try:
        yield
    except SynthreleaseError:
        raise
    except (CommClosedError, TimeoutError, ConnectionError) as error:
        raise ClusterError(
            f"The cluster does not answer: {error}.",
            "Look whether its scheduler and at least one worker run. What is finished is kept: run the same command "
            "again.",
        ) from error


@contextlib.contextmanager
def opened(where: str) -> Iterator[Workers]:
    """Yield the workers that an option names; without any, this process does the work.

    Args:
        where: Empty, `local:N` (N processes on this machine), `tcp://host:port`, or the file that a scheduler wrote.

    Raises:
        ClusterError: `distributed` is not installed, the name is none of these, or nobody answers.
    """
    if not where:
        yield HERE
        return
    try:
        import distributed
    except ImportError as error:
        raise ClusterError(
            "Working on a cluster needs Dask.", "Install it: pip install 'synthrelease[cluster]'"
        ) from error
    with contextlib.ExitStack() as stack:
        if where.startswith(LOCAL):
            cluster = stack.enter_context(_local(where))
            client = stack.enter_context(distributed.Client(cluster))
        else:
            client = stack.enter_context(_reached(where))
        yield Cluster(client)


def _local(where: str) -> Any:
    from distributed import LocalCluster

    number = where.removeprefix(LOCAL)
    if not number.isdigit() or int(number) < 1:
        raise ClusterError(f"{where} names no number of processes.", "Write for example --cluster local:4.")
    # A thread each: the operations are small, and split over threads they wait for each other.
    return LocalCluster(n_workers=int(number), threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0")


def _reached(where: str) -> Any:
    from distributed import Client

    remedy = "Give tcp://host:port of a running scheduler, the file that it wrote (--scheduler-file), or local:N."
    is_file = where.endswith(".json")
    if not is_file and "://" not in where:
        raise ClusterError(f"{where} names no cluster.", remedy)
    if is_file and not os.path.isfile(where):  # noqa: PTH113 - text from the command line, not yet known to be a path
        raise ClusterError(f"There is no file {where}.", remedy)
    try:
        return Client(scheduler_file=where, timeout=30) if is_file else Client(where, timeout=30)
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(f"No scheduler answers at {where}: {error}", remedy) from error
