"""A server's requests per second and its slowest answers against `Detector.predict` called directly."""

import base64
import http.client
import io
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
from PIL import Image

from benchmarks.figure import Figure, Ratio, report
from neglab.detector import Detector
from neglab.service.app import Judging, make_app
from neglab.service.batches import Batches
from neglab.service.limits import Limits
from neglab.service.server import listen, make_server

LIMITS = Limits(2**25, 16, 50_000_000, 30.0, 1024, 256)
NUM_NEGATIVES = 5


def bodies(num_images: int, size: int) -> tuple[list[Image.Image], list[bytes]]:
    """Pictures, and each as the request that holds it."""
    draw, pictures, asked = np.random.default_rng(0), [], []
    for _ in range(num_images):
        # Smooth: noise would make JPEG files of ten times the size.
        coarse = Image.fromarray(draw.integers(0, 255, (8, 8, 3), dtype=np.uint8))
        content = io.BytesIO()
        coarse.resize((size, size)).save(content, "JPEG", quality=90)
        pictures.append(Image.open(io.BytesIO(content.getvalue())))
        asked.append(json.dumps({"images": [base64.b64encode(content.getvalue()).decode()]}).encode())
    return pictures, asked


@contextmanager
def served(detector: Detector) -> Iterator[int]:
    """The port of a server in a thread."""
    server = make_server(make_app(Judging(detector, Batches(32, 0.005), LIMITS, NUM_NEGATIVES)), LIMITS)
    with listen("127.0.0.1", 0) as place:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
        thread.start()
        try:
            yield place.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def load(port: int, asked: list[bytes], num_clients: int) -> tuple[list[float], list[float], float]:
    """Scores and seconds of each request, and seconds of all, from clients that ask one after the other."""
    scores, times = [0.0] * len(asked), [0.0] * len(asked)

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for i in range(number, len(asked), num_clients):
            begin = time.perf_counter()
            connection.request("POST", "/v1/detect", asked[i], {"Content-Type": "application/json"})
            scores[i] = json.loads(connection.getresponse().read())["images"][0]["score"]
            times[i] = time.perf_counter() - begin
        connection.close()

    begin = time.perf_counter()
    with ThreadPoolExecutor(num_clients) as pool:
        list(pool.map(client, range(num_clients)))
    return scores, times, time.perf_counter() - begin


def measure(num_images: int = 512, num_clients: int = 32, size: int = 640, backbone: str = "mini") -> Figure:
    """Photos of a telephone's preview size, one to a request, through the shipped model."""
    detector = Detector.create(["cat", "dog", "bicycle", "teapot"], backbone, device=None)
    detector.progress_bar = False
    pictures, asked = bodies(num_images, size)
    detector.predict(pictures[:2])
    begin = time.perf_counter()
    alone = [detector.predict(picture)[0].score for picture in pictures[: max(1, num_images // 8)]]
    one_by_one = (time.perf_counter() - begin) / len(alone)
    begin = time.perf_counter()
    direct = [float(found.score or 0.0) for found in detector.predict(pictures)]
    at_once = time.perf_counter() - begin
    with served(detector) as port:
        load(port, asked[:2], 1)
        scores, times, whole = load(port, asked, num_clients)
    p95 = float(np.quantile(times, 0.95))
    return Figure(
        what=f"serve: {num_images} requests of {num_clients} clients, {size} x {size} JPEG",
        plain="Detector.predict: all images in one call; for each request a call of its own",
        ratios=(
            Ratio("server / one call for all, images per second", at_once / whole),
            Ratio("server / a call per image, images per second", one_by_one * num_images / whole),
        ),
        difference=max(abs(found - expected) for found, expected in zip(scores, direct, strict=True)),
        tolerance=1e-4,
        details={
            "requests_per_second": num_images / whole,
            "p50_seconds": float(np.median(times)),
            "p95_seconds": p95,
            "seconds_of_one_call_for_all": at_once,
            "seconds_of_a_call_per_image": one_by_one,
        },
    )


if __name__ == "__main__":
    report("serve", measure)
