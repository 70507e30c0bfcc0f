"""What Prometheus sees of the server."""

import time
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from neglab.service.answers import Judgement

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Counts:
    """The counters of one server, in a registry of its own."""

    def __init__(self, num_waiting: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("neglab_requests", "requests to detect, by status", ["status"], registry=self.registry)
        self.images = Counter("neglab_images", "images, by what became of them", ["decision"], registry=self.registry)
        self.seconds = Histogram("neglab_request_seconds", "from head to answer", registry=self.registry)
        self.batches = Histogram(
            "neglab_batch_images", "images judged together", buckets=BATCH_SIZES, registry=self.registry
        )
        waiting = Gauge("neglab_waiting_images", "images that no batch holds yet", registry=self.registry)
        waiting.set_function(num_waiting)

    def count(self, judged: Judgement) -> None:
        """One image more."""
        if judged.error is not None:
            decision = "unreadable"
        else:
            decision = {True: "ood", False: "id", None: "undecided"}[judged.is_ood]
        self.images.labels(decision).inc()

    def text(self) -> bytes:
        """All of them, in Prometheus' own format."""
        return generate_latest(self.registry)


class Counted:
    """Counts and times the answers to one path, refusals among them.

    Args:
        app: what answers, by the ASGI convention.
        counts: where to count.
        path: of the requests that count.
    """

    def __init__(self, app: Any, counts: Counts, path: str) -> None:
        self.app, self.counts, self.path = app, counts, path

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != self.path:
            await self.app(scope, receive, send)
            return
        begin, status = time.perf_counter(), 500

        async def watched(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            self.counts.requests.labels(str(status)).inc()
            self.counts.seconds.observe(time.perf_counter() - begin)
