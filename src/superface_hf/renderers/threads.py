"""Several frames at once on the cores of a CPU.

One small frame spread over several cores spends much of its time on sharing the work; several frames, each on a core of its
own, are done in about two thirds of the time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, islice
from threading import Event, Lock, Thread
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_changing = Lock()  # one thread at a time changes how many threads torch uses


def in_order(work: Callable[[Item], Result], groups: Iterable[Iterable[Item]], threads: int) -> Iterator[Result]:
    """``work`` done on every item, results in the items' order.

    Args:
        groups: items that are there at the same time. While a result of a group is waited for, its next items are taken and
            worked on; the next group is not asked for before all results of the last one have been given.
        threads: how many items are worked on at once, each with one thread of torch. An item that is alone in its group is
            worked on by the caller, with all of the caller's threads.

    Raises:
        whatever ``work`` raises, in the place of that item's result.
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
                yield from _ahead(work, chain(start, items), pool, threads)


def _ahead(work: Callable[[Item], Result], items: Iterable[Item], pool: Executor, threads: int) -> Iterator[Result]:
    """One item more than there are threads is under way, so that none of them waits for whoever takes the results."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > threads:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@contextmanager
def _pool(threads: int) -> Iterator[Executor]:
    """Threads in each of which torch uses one; everywhere else it goes on using as many as before."""
    with ThreadPoolExecutor(threads, "superface", use_threads, (1,)) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def use_threads(count: int) -> None:
    """Sets how many threads torch uses for the work of the calling thread, and of no other.

    ``torch.set_num_threads`` sets the number for the calling thread, and for all threads that have not used torch yet. A new
    thread sets the latter back to what it was.
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
        torch.get_num_threads()  # from here on torch has seen this thread, and leaves its number as it is
        changed.set()
        keeper.join()


def on_one_thread(results: Iterator[Result]) -> Iterator[Result]:
    """``results`` as they are, but torch uses one thread while the next one is made; in between, as many as before.

    For what is made one by one beside an encoder: threads that wait for work to share keep the cores from it.
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
