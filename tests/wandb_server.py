"""A stand-in for W&B's server: as much of its protocol as wandb's client asks for while a run is written.

It keeps what arrives. Runs are made by GraphQL's UpsertBucket, lines of files come to `file_stream`, and files are put
to the addresses that CreateRunFiles gives.
"""

import gzip
import json
import re
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

ENTITY = "someone"


class WandbServer(ThreadingHTTPServer):
    """Listens on a port of its own, as a context.

    Attributes:
        upserts: variables of each UpsertBucket, in order.
        lines: by file, what was streamed of it: by offset, a line.
        finished: exit codes.
        files: by name, what was put.
        operations: names of all queries.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upserts, self.finished, self.files, self.operations = [], [], {}, []
        self.lines = defaultdict(dict)

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self):
        Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.shutdown()
        self.server_close()

    @property
    def summary(self):
        """The last summary that was streamed."""
        streamed = self.lines["wandb-summary.json"]
        return json.loads(streamed[max(streamed)])

    def known(self, name):
        """The last value of a variable of UpsertBucket."""
        return [found[name] for found in self.upserts if found.get(name) is not None][-1]

    def answer(self, query, variables):
        """The data of a GraphQL answer."""
        operation = re.search(r"(?:query|mutation)\s+(\w+)", query)
        self.operations.append(operation[1] if operation else query[:80])
        if "upsertBucket" in query:
            self.upserts.append(variables)
            name = variables.get("name") or variables.get("id") or "run"
            project = {"id": "project", "name": variables["project"], "entity": {"id": "entity", "name": ENTITY}}
            bucket = {
                "id": "bucket", "name": name, "displayName": name, "description": None, "config": None,
                "sweepName": None, "historyLineCount": 0, "project": project,
            }  # fmt: skip
            return {"upsertBucket": {"bucket": bucket, "inserted": len(self.upserts) == 1}}
        if "createRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.address}/put/{name}"} for name in variables["files"]]
            return {"createRunFiles": {"runID": "bucket", "uploadHeaders": [], "files": files}}
        if "viewer" in query:
            teams = {"edges": [{"node": {"name": ENTITY}}]}
            return {"viewer": {"id": "viewer", "entity": ENTITY, "username": ENTITY, "flags": "{}", "teams": teams}}
        return {}


class _Handler(BaseHTTPRequestHandler):
    server: WandbServer
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        content = self._content()
        if self.path == "/graphql":
            asked = json.loads(content)
            self._send({"data": self.server.answer(asked["query"], asked.get("variables") or {})})
        elif self.path.endswith("/file_stream"):
            told = json.loads(content)
            for name, part in (told.get("files") or {}).items():
                self.server.lines[name] |= dict(enumerate(part["content"], start=part.get("offset", 0)))
            if told.get("complete"):
                self.server.finished.append(told.get("exitcode"))
            self._send({})
        else:
            self._send({}, 404)

    def do_PUT(self):
        self.server.files[self.path.removeprefix("/put/")] = self._content()
        self._send({})

    def do_GET(self):
        self._send({})

    def _content(self):
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(content) if self.headers.get("Content-Encoding") == "gzip" else content

    def _send(self, answer, status=200):
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        """Say nothing."""
