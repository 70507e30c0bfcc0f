"""The server over a real socket, on a detector that takes no time."""

import base64
import http.client
import io
import json
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fakes
import pytest
import torch
from PIL import Image

from neglab.score.adaneg import AdaNegScore
from neglab.service.app import Judging, make_app
from neglab.service.batches import Batches
from neglab.service.limits import Limits
from neglab.service.server import listen, make_server
from neglab.types import UserError

LIMITS = {"body": 200_000, "images": 4, "pixels": 10_000, "seconds": 1.0, "waiting": 200, "connections": 100}


@contextmanager
def serving(detector=None, batches=None, token=None, url_hosts=(), **limits):
    """The port of a server in a thread, and its batches."""
    detector, found = detector or fakes.pixel_detector(), Limits(**{**LIMITS, **limits})
    batches = batches or Batches(8, 0.005)
    server = make_server(make_app(Judging(detector, batches, found, 3), url_hosts, token), found)
    with listen("127.0.0.1", 0) as place:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [place]}, daemon=True)
        thread.start()
        try:
            yield place.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def port():
    with serving() as found:
        yield found


def png(seed=0, size=(20, 16)):
    pixels = torch.randint(0, 255, (*size, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(content, "PNG")
    return content.getvalue()


def ask(port, body=None, kind="application/json", path="/v1/detect", **headers):
    """Status, headers and JSON (or text) of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        content = json.dumps(body).encode() if isinstance(body, dict) else body
        connection.request("GET" if body is None else "POST", path, content, {"Content-Type": kind, **headers})
        answer = connection.getresponse()
        text = answer.read().decode()
        return answer.status, answer.headers, json.loads(text) if "json" in answer.headers["Content-Type"] else text
    finally:
        connection.close()


def in_base64(*files):
    return {"images": [base64.b64encode(file).decode() for file in files]}


def multipart(*files):
    """The body of a form with these files, and its content type."""
    parts = [
        b'--cut\r\nContent-Disposition: form-data; name="images"; filename="%d.png"\r\n\r\n%s\r\n' % (number, file)
        for number, file in enumerate(files)
    ]
    return b"".join(parts) + b"--cut--\r\n", "multipart/form-data; boundary=cut"


def test_an_answer_is_what_the_detector_says(port):
    detector, files = fakes.pixel_detector(), [png(1), png(2)]
    expected = detector.predict([Image.open(io.BytesIO(file)) for file in files])
    status, _, answer = ask(port, in_base64(*files))
    assert status == 200
    assert (answer["model"], answer["method"], answer["threshold"]) == ("pixels", "neglabel", 0.5)
    for found, one in zip(answer["images"], expected, strict=True):
        assert found["score"] == pytest.approx(one.score, abs=1e-6) and found["is_ood"] == one.is_ood
        assert found["predicted_class"]["label"] == one.predicted_class
        negatives = found["nearest_negatives"]
        assert negatives[0]["label"] == one.negative_label
        assert len(negatives) == 3 and negatives[0]["share"] >= negatives[1]["share"] >= negatives[2]["share"]
        assert found["name"] is found["error"] is None
    as_form = ask(port, *multipart(*files))[2]["images"]
    assert [one["name"] for one in as_form] == ["0.png", "1.png"]
    assert [one["score"] for one in as_form] == [one["score"] for one in answer["images"]]


def test_one_unreadable_image_stops_nothing(port):
    broken = png(3)[:-40]
    status, _, answer = ask(port, in_base64(png(1), b"no picture", broken, png(1, (200, 60))))
    assert status == 200
    first, *others = answer["images"]
    assert first["error"] is None and all(one["score"] is one["is_ood"] is None for one in others)
    assert "no image of a known format" in others[0]["error"] and others[1]["error"]
    assert "10000 pixels; it has 60 x 200" in others[2]["error"]
    status, _, answer = ask(port, in_base64(b"no picture"))
    assert status == 422 and "No image of the request can be read. It is no image" in answer["detail"]


@pytest.mark.parametrize(
    ("body", "kind", "status", "reason"),
    [
        (b"x" * 300_000, "application/json", 413, "may have 200000 bytes"),
        (b"{", "application/json", 422, "The JSON does not fit"),
        (b"[" * 100_000, "application/json", 422, "The JSON does not fit"),
        ({"image": "x"}, "application/json", 422, "unknown field `image`"),
        ({"images": ["no base 64"]}, "application/json", 422, "in place 0 is not"),
        ({"images": []}, "application/json", 422, "at least one image"),
        ({"images": ["eA=="] * 5}, "application/json", 413, "may hold 4 images; got 5"),
        ({"urls": ["http://localhost/a.png"]}, "application/json", 422, "fetches nothing"),
        (b"x", "text/plain", 415, "multipart/form-data with files named images"),
        (b"x", "multipart/form-data", 400, "boundary"),
        (multipart(*[b"x"] * 5)[0], "multipart/form-data; boundary=cut", 413, "may hold 4 images; got 5"),
    ],
)
def test_a_bad_request_is_refused_with_its_reason(port, body, kind, status, reason):
    found, headers, answer = ask(port, body, kind)
    assert (found, headers["Connection"]) == (status, "close")
    assert reason in answer["detail"]


def test_a_body_without_a_length_is_counted(port):
    chunks = iter([b"x" * 50_000] * 10)
    assert ask(port, chunks)[0] == 413


def test_who_reads_after_sending_sees_the_reason():
    """Also where the refusal is known from the head, and the body is more than the sockets' buffers hold."""
    body = b"x" * 30_000_000
    with serving(token="right", seconds=30.0) as port:
        assert ask(port, body)[0] == 401
        assert ask(port, body, path="/nowhere")[0] == 404
        assert ask(port, body, Authorization="Bearer right")[0] == 413


def test_who_asks_before_sending_is_answered_at_once(port):
    with socket.create_connection(("127.0.0.1", port), timeout=15) as client:
        begin = time.monotonic()
        client.sendall(HEAD.replace(b"100", b"300000\r\nExpect: 100-continue"))
        assert client.recv(4096).startswith(b"HTTP/1.1 413 ") and time.monotonic() - begin < 0.8


def test_32_clients_get_their_own_answers_from_common_batches():
    detector = fakes.pixel_detector()
    files = [png(seed) for seed in range(32)]
    expected = detector.score([Image.open(io.BytesIO(file)) for file in files])
    with serving(detector) as port:
        ask(port, in_base64(files[0]))
        start = threading.Barrier(32)

        def client(file):
            start.wait()
            return [ask(port, in_base64(file))[2]["images"][0]["score"] for _ in range(3)]

        with ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(client, files))
        numbers = ask(port, path="/metrics")[2]
    assert torch.allclose(torch.tensor(answers, dtype=torch.float64), expected[:, None].expand(32, 3), atol=1e-6)
    assert 'neglab_requests_total{status="200"} 97.0' in numbers
    assert int(float(re.search(r"neglab_batch_images_count (\S+)", numbers)[1])) < 97
    assert "neglab_batch_images_sum 97.0" in numbers and "neglab_waiting_images 0.0" in numbers


def test_too_many_waiting_are_told_to_come_back():
    with serving(waiting=1) as port:
        assert ask(port, in_base64(png(1)))[0] == 200
        status, headers, answer = ask(port, in_base64(png(1), png(2)))
        assert (status, headers["Retry-After"]) == (503, "1") and "Try again" in answer["detail"]


def test_a_failing_detector_fails_its_batch_alone(monkeypatch):
    detector, calls = fakes.pixel_detector(), []
    predict = detector.predict_embeddings

    def once(embeddings):
        calls.append(len(embeddings))
        if len(calls) == 1:
            raise RuntimeError("no memory")
        return predict(embeddings)

    monkeypatch.setattr(detector, "predict_embeddings", once)
    with serving(detector) as port:
        assert ask(port, in_base64(png(1)))[0] == 500
        assert ask(port, in_base64(png(1)))[0] == 200


def test_a_token_guards_all_but_the_health():
    with serving(token="gehéim") as port:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic x"}):
            status, found, _ = ask(port, in_base64(png(1)), **headers)
            assert (status, found["WWW-Authenticate"]) == (401, "Bearer")
        assert ask(port, path="/metrics")[0] == 401
        assert ask(port, path="/healthz")[2] == {"status": "ok"}
    with serving(token="right") as port:
        assert ask(port, in_base64(png(1)), Authorization="Bearer right")[0] == 200


def test_the_page_shows_the_forms(port):
    assert "swagger" in ask(port, path="/docs")[2]
    paths = ask(port, path="/openapi.json")[2]["paths"]
    assert paths.keys() == {"/v1/detect", "/healthz", "/metrics"}
    assert paths["/v1/detect"]["post"]["requestBody"]["content"].keys() == {"multipart/form-data", "application/json"}


class Pictures(BaseHTTPRequestHandler):
    """Another server, which has a picture and sends on to it."""

    def do_GET(self):
        found = self.path == "/a.png"
        self.send_response(200 if found else 302)
        self.send_header("Location", "/a.png")
        self.end_headers()
        self.wfile.write(png(1) if found else b"")

    def log_message(self, *arguments):
        pass


def test_urls_are_fetched_from_listed_hosts_alone():
    with ThreadingHTTPServer(("127.0.0.1", 0), Pictures) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{other.server_port}"
        with serving(url_hosts=[host]) as port:
            expected = ask(port, in_base64(png(1)))[2]["images"][0]["score"]
            status, _, answer = ask(port, {"urls": [f"http://{host}/a.png"]})
            assert status == 200 and answer["images"][0]["score"] == expected
            assert answer["images"][0]["name"] == f"http://{host}/a.png"
            for url in ("http://localhost/a.png", f"file://{host}/a.png", f"http://{host}@localhost/a.png", "http://["):
                status, _, answer = ask(port, {"urls": [url]})
                assert status == 422 and "must be http or https" in answer["detail"]
            assert "could not be fetched" in ask(port, {"urls": [f"http://{host}/on"]})[2]["detail"]
        with serving(url_hosts=[host], body=300) as port:
            assert ask(port, {"urls": [f"http://{host}/a.png"]})[0] == 413
        other.shutdown()


HEAD = b"POST /v1/detect HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "answered"), [(b"", b""), (HEAD[:30], b""), (HEAD + b"{", b"HTTP/1.1 408 ")], ids=["none", "head", "body"]
)
def test_who_sends_slowly_is_cut_off(port, sent, answered):
    """All of them at the limit of a second, and not only once they have sent everything."""
    with socket.create_connection(("127.0.0.1", port), timeout=15) as client:
        begin = time.monotonic()
        client.sendall(sent)
        received = b"".join(iter(lambda: client.recv(4096), b""))  # until the server closes
        assert 0.8 < time.monotonic() - begin < 12
        assert received.startswith(answered) and bool(received) == bool(answered)


def test_a_half_closed_connection_is_let_go(port):
    with socket.create_connection(("127.0.0.1", port), timeout=15) as client:
        client.sendall(HEAD + b"{")
        client.shutdown(socket.SHUT_WR)
        begin = time.monotonic()
        b"".join(iter(lambda: client.recv(4096), b""))
        assert time.monotonic() - begin < 12
    assert ask(port, in_base64(png(1)))[0] == 200


def test_a_method_that_learns_from_the_stream_is_refused():
    scorer = AdaNegScore.__new__(AdaNegScore)
    detector = fakes.pixel_detector()
    detector.scorer = scorer
    with pytest.raises(UserError, match="one person's would change another's answers"):
        Judging(detector, Batches(8, 0.0), Limits(**LIMITS), 3)


def test_a_port_in_use_is_said():
    with listen("127.0.0.1", 0) as place:
        port = place.getsockname()[1]
        with pytest.raises(UserError, match=f"Port {port} of 127.0.0.1 is in use. Choose another"):
            listen("127.0.0.1", port)
    with pytest.raises(UserError, match="host must be an address of this machine"):
        listen("192.0.2.1", 8000)
