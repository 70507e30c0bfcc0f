"""`neglab serve` from its door: the command, its messages and its end."""

import os
import re
import signal
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import fakes
import pytest

from neglab.compose import compose
from neglab.detector import Detector
from neglab.service.server import listen
from neglab.tasks import serve
from neglab.types import UserError


def test_an_unknown_detector_and_a_port_in_use_are_said(tmp_path):
    with pytest.raises(UserError, match="A saved detector is a folder with"):
        serve.run(compose([f"detector={tmp_path}", "port=0"], "serve"))
    with listen("127.0.0.1", 0) as place:
        port = place.getsockname()[1]
        with pytest.raises(UserError, match=f"Port {port} of 127.0.0.1 is in use"):
            serve.run(compose([f"detector={tmp_path}", f"port={port}"], "serve"))


@pytest.mark.parametrize("value", ["port=70000", "limits.images=0", "limits.seconds=0", "log_level=loud", "host=1"])
def test_a_value_out_of_range_is_said(value):
    with pytest.raises(UserError, match=value.partition("=")[0]):
        compose(["detector=x", value], "serve")


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)])
def test_an_open_door_is_said_and_ctrl_c_is_no_mistake(host, warned, monkeypatch, caplog, capsys):
    def stopped(server, sockets):
        assert sockets[0].getsockname()[1] > 0
        raise KeyboardInterrupt

    monkeypatch.delenv(serve.TOKEN, raising=False)
    monkeypatch.setattr(Detector, "load", lambda *_: fakes.pixel_detector())
    monkeypatch.setattr("uvicorn.Server.run", stopped)
    serve.run(compose(["detector=x", "port=0", f"host={host}"], "serve"))
    assert ("set NEGLAB_TOKEN" in caplog.text) == warned
    assert "Detector of 5 classes" in (shown := capsys.readouterr().out) and "Stopped." in shown


@pytest.mark.slow
def test_the_command_answers_until_sigterm(tmp_path):
    """In a process of its own; the detector is one that loads nothing."""
    code = (
        "import sys; sys.path[:0] = [sys.argv.pop(1)]; import fakes, neglab; from neglab.cli import main; "
        "neglab.Detector.load = lambda *_: fakes.pixel_detector(); main()"
    )
    tests = Path(__file__).parents[1]
    typed = [sys.executable, "-c", code, tests, "serve", "detector=mine", "port=0"]
    environment = os.environ | {"NEGLAB_TOKEN": "of the test", "COLUMNS": "200"}
    with subprocess.Popen(
        list(map(str, typed)), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as server:
        assert "Detector of 5 classes" in server.stdout.readline()
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)/v1/detect", server.stdout.readline())[1])
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b'{"status":"ok"}'
        connection.close()
        server.send_signal(signal.SIGTERM)
        out, errors = server.communicate(timeout=60)
        assert server.returncode == 0 and "Stopped." in out and "Traceback" not in errors
