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
from threading import Barrier
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


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
    usual, started = torch.get_num_threads(), Barrier(threads)

    def start() -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()  # only now does torch know this thread, and leave it at that

    with ThreadPoolExecutor(threads, "superface", start) as pool:
        # `set_num_threads` is for the thread that calls it and for those that torch has not seen yet: it is set back once
        # all of ours have called it.
        list(pool.map(lambda _: started.wait(), range(threads)))
        torch.set_num_threads(usual)
        try:
            yield pool
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def on_one_thread(results: Iterator[Result]) -> Iterator[Result]:
    """``results`` as they are, but torch uses one thread while the next one is made; in between, as many as before.

    For what is made one by one beside an encoder: threads that wait for work to share keep the cores from it.
    """
    while True:
        usual = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            result = next(results)
        except StopIteration:
            return
        finally:
            torch.set_num_threads(usual)
        yield result
