"""Images of many requests, judged together: while one batch is at work, the next one gathers."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from neglab.ranges import Count, NotNegative

Waiting = tuple[Any, asyncio.Future[Any]]


class BusyError(Exception):
    """More images wait than the server takes."""


class Batches:
    """One queue in front of one thread.

    Args:
        size: images that go through the tower together, at most.
        wait: seconds that the first image of a batch waits for others.
    """

    def __init__(self, size: Count, wait: NotNegative) -> None:
        self.size, self.wait = size, wait
        self.most_waiting = 0
        self._queue: asyncio.Queue[Waiting] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="detector")

    @property
    def num_waiting(self) -> int:
        """Images that no batch holds yet."""
        return self._queue.qsize()

    async def judge(self, images: Sequence[Any]) -> list[Any]:
        """The answer to each image, in their order.

        Raises:
            BusyError: too many wait already.
        """
        if self.num_waiting + len(images) > self.most_waiting:
            raise BusyError
        loop = asyncio.get_running_loop()
        answers = [loop.create_future() for _ in images]
        for one in zip(images, answers, strict=True):
            self._queue.put_nowait(one)
        return await asyncio.gather(*answers)

    async def run(self, work: Callable[[list[Any]], list[Any]], most_waiting: int) -> None:
        """Judge what comes, until this is cancelled.

        Args:
            work: from a batch of images to an answer for each; it runs in the thread.
            most_waiting: images in the queue.
        """
        self.most_waiting, loop = most_waiting, asyncio.get_running_loop()
        while True:
            batch = await self._next()
            try:
                found: Sequence[Any] = await loop.run_in_executor(self._thread, work, [image for image, _ in batch])
            except Exception as error:  # of this batch alone; the server goes on
                for _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for (_, answer), judged in zip(batch, found, strict=True):
                if not answer.done():  # whoever asked may have gone
                    answer.set_result(judged)

    async def _next(self) -> list[Waiting]:
        batch = [await self._queue.get()]
        try:
            async with asyncio.timeout(self.wait):
                while len(batch) < self.size:
                    batch.append(await self._queue.get())
        except TimeoutError:
            pass
        while len(batch) < self.size and not self._queue.empty():
            batch.append(self._queue.get_nowait())
        return batch
