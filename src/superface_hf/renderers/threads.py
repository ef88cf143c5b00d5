"""Render several frames at once on the cores of a CPU.

One small frame on several cores spends much of its time on sharing the work; several frames, each on its own core, take
about two thirds of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, islice
from threading import Event, Lock, Thread

import torch

from ..utils.ahead import Item, Result, ahead

_changing = Lock()  # one thread at a time changes how many threads torch uses


def in_order(work: Callable[[Item], Result], groups: Iterable[Iterable[Item]], threads: int) -> Iterator[Result]:
    """Yield the results of ``work`` for every item, in the order of the items.

    Args:
        work: the function to call on every item.
        groups: items that are available at the same time. While the consumer waits for a result, the next items of the
            group are processed; the next group is read only after all results of this one have been yielded.
        threads: how many items are processed at once, each with one thread of torch. The only item of a group is processed by
            the caller, with all of the caller's threads.

    Raises:
        Any error of ``work``, in place of that item's result.
    """
    if threads < 2:
        yield from (work(item) for group in groups for item in group)
        return
    with _pool(threads) as pool:
        for group in groups:
            items = iter(group)
            start = list(islice(items, 2))
            if len(start) < 2:
                yield from map(work, start)
            else:
                yield from ahead(work, chain(start, items), pool, threads)


@contextmanager
def _pool(threads: int) -> Iterator[Executor]:
    """Make a pool of threads that each compute with one thread of torch; other threads keep their number."""
    with ThreadPoolExecutor(threads, "superface", use_threads, (1,)) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def use_threads(count: int) -> None:
    """Set how many threads torch uses for the work of the calling thread, and of no other thread.

    ``torch.set_num_threads`` sets the number for the calling thread, and the default of all threads that have not used
    torch yet. A temporary thread sets this default back.
    """
    changed = Event()

    def keep(ready: Event) -> None:
        usual = torch.get_num_threads()
        ready.set()
        changed.wait()
        torch.set_num_threads(usual)

    with _changing:
        ready = Event()
        keeper = Thread(target=keep, args=(ready,), name="superface-keeper")
        keeper.start()
        ready.wait()
        torch.set_num_threads(count)
        torch.get_num_threads()  # torch now knows this thread, and does not apply the default to it
        changed.set()
        keeper.join()


def on_one_thread(results: Iterator[Result]) -> Iterator[Result]:
    """Yield ``results``; torch computes each with one thread, and uses as many as before in between.

    Used for results that are made one by one beside an encoder, which needs the other cores.
    """
    while True:
        usual = torch.get_num_threads()
        use_threads(1)
        try:
            result = next(results)
        except StopIteration:
            return
        finally:
            use_threads(usual)
        yield result
