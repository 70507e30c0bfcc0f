"""What one request may cost."""

from dataclasses import dataclass

from neglab.ranges import Count, Positive


@dataclass(frozen=True)
class Limits:
    """What the server takes of one request, and of all together.

    Attributes:
        body: bytes of a request, and of what its URLs lead to.
        images: of a request.
        pixels: of an image, before it is decoded.
        seconds: a connection may take for a request's head, and again for its body.
        waiting: images of all requests that wait for the detector; more are told to come back later.
        connections: open at once.
    """

    body: Count
    images: Count
    pixels: Count
    seconds: Positive
    waiting: Count
    connections: Count
