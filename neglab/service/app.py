"""The server's paths: POST /v1/detect, /healthz, /metrics, and the OpenAPI page at /docs."""

import asyncio
import hmac
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from torch import Tensor

from neglab import __version__
from neglab.data.base import UnreadableImageError
from neglab.detector import Detector
from neglab.service.answers import Answer, Judgement, judgements, picture
from neglab.service.batches import Batches, BusyError
from neglab.service.counts import Counted, Counts
from neglab.service.incoming import HeardOut, Refused, Sent, read_images
from neglab.service.limits import Limits
from neglab.types import UserError

DETECT = "/v1/detect"
FILES = {"type": "array", "items": {"type": "string", "format": "binary"}}
TEXTS = {"type": "array", "items": {"type": "string"}}
# FastAPI reads this off typed parameters, but a body that it parses itself has neither a size nor a time limit.
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": {"type": "object", "properties": {"images": FILES}}},
            "application/json": {"schema": {"type": "object", "properties": {"images": TEXTS, "urls": TEXTS}}},
        },
    }
}
bearer = HTTPBearer(auto_error=False, description="NEGLAB_TOKEN of the server, where it has one")


class Judging:
    """A detector, the queue in front of it and the counts beside it.

    Args:
        detector: judges each image by itself.
        batches: how images of several requests are judged together.
        limits: what a request may cost.
        num_negatives: nearest negatives that are named of each image.

    Raises:
        UserError: the method learns while it tests, so that one person's images would change another's answers.
    """

    def __init__(self, detector: Detector, batches: Batches, limits: Limits, num_negatives: int) -> None:
        if detector.scorer.order_dependent:
            raise UserError(
                f"A server judges each image by itself; method={detector.recipe.method} learns from the images that it "
                "tests, so one person's would change another's answers. Save a detector with another method, such as "
                "method=neglabel."
            )
        detector.progress_bar = False
        self.detector, self.batches, self.limits, self.num_negatives = detector, batches, limits, num_negatives
        self.counts = Counts(lambda: batches.num_waiting)

    @asynccontextmanager
    async def working(self, app: FastAPI) -> AsyncIterator[None]:
        """While the server is up, batches are judged."""
        task = asyncio.create_task(self.batches.run(self._work, self.limits.waiting))
        yield
        task.cancel()

    async def answer(self, sent: Sequence[Sent]) -> Answer:
        """To one request.

        Raises:
            Refused: too many images wait, or none of these can be read.
        """
        read = await asyncio.gather(*(asyncio.to_thread(self._read, one) for one in sent))
        try:
            judged = iter(await self.batches.judge([image for image in read if isinstance(image, Tensor)]))
        except BusyError:
            raise Refused(503, "Too many images wait already. Try again soon.", **{"Retry-After": "1"}) from None
        found = [next(judged) if isinstance(image, Tensor) else Judgement(error=image) for image in read]
        for one in found:
            self.counts.count(one)
        if all(one.error is not None for one in found):
            raise Refused(422, f"No image of the request can be read. {found[0].error}")
        named = [one.model_copy(update={"name": file.name}) for one, file in zip(found, sent, strict=True)]
        recipe = self.detector.recipe
        return Answer(images=named, model=recipe.model, method=recipe.method, threshold=self.detector.threshold)

    def _read(self, sent: Sent) -> Tensor | str:
        """The image as the detector's tower takes it, or why it cannot be read."""
        try:
            return self.detector.transform(picture(sent.content, self.limits.pixels))
        except UnreadableImageError as error:
            return str(error)

    def _work(self, images: list[Tensor]) -> list[Judgement]:
        self.counts.batches.observe(len(images))
        return judgements(self.detector, images, self.num_negatives)


def guard(token: str | None) -> Any:
    """Lets those through who bear the token; None: everyone."""

    def check(sent: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> None:
        typed = sent.credentials if sent else ""
        if token is not None and not hmac.compare_digest(typed.encode(), token.encode()):
            raise Refused(401, "Send the server's token: Authorization: Bearer TOKEN", **{"WWW-Authenticate": "Bearer"})

    return Depends(check)


def make_app(judging: Judging, url_hosts: Sequence[str] = (), token: str | None = None) -> FastAPI:
    """The server around a detector.

    Args:
        judging: what answers.
        url_hosts: from which images may be fetched; none: URLs are refused.
        token: that a request must bear; None: anyone may ask.
    """
    app = FastAPI(title="neglab", version=__version__, lifespan=judging.working, redoc_url=None)
    app.add_middleware(HeardOut, seconds=judging.limits.seconds)
    app.add_middleware(Counted, counts=judging.counts, path=DETECT)

    @app.post(DETECT, dependencies=[guard(token)], openapi_extra=BODY)
    async def detect(request: Request) -> Answer:
        """Which images do not belong to the detector's classes?"""
        return await judging.answer(await read_images(request, judging.limits, url_hosts))

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The server is there and its detector loaded."""
        return {"status": "ok"}

    @app.get("/metrics", dependencies=[guard(token)], response_class=Response)
    async def metrics() -> Response:
        """Counts and times, for Prometheus."""
        return Response(judging.counts.text(), media_type=CONTENT_TYPE_LATEST)

    return app
