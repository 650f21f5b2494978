"""Unpacks ahead of the writer, so that the disk never waits for the processor."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

from edgeimg.errors import EdgeimgError

_AHEAD = 4
"""Chunks that are unpacked before they are written."""

T = TypeVar("T")


class StoppedError(EdgeimgError):
    """Somebody interrupted it."""


def ahead(items: Iterator[T], stop: threading.Event) -> Iterator[T]:
    """The items, made in a thread of their own while the last ones are used.

    Raises the errors of `items`, and StoppedError when `stop` is set.
    """
    items_ahead: queue.Queue[T | BaseException | None] = queue.Queue(_AHEAD)
    over = threading.Event()

    def put(item: T | BaseException | None) -> bool:
        while not over.is_set():
            try:
                items_ahead.put(item, timeout=0.2)
            except queue.Full:
                continue
            return True
        return False

    def make() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        while (item := items_ahead.get()) is not None:
            if stop.is_set():
                raise StoppedError("interrupted")
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        over.set()
        thread.join()
