"""The filter over HTTP; the chat itself is tested in tests/chat/test_openai_api.py."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from fakes import TextVectors, named
from hydra.utils import instantiate

from neglab.compose import compose
from neglab.llm_filter.base import SYSTEM_PROMPT, LabelFilter, proper_noun_question, subcategory_question
from neglab.llm_filter.openai_api import OpenAIAPIFilter
from neglab.types import UserError

NAMES = ("Paris", "holm oak", "sand", "oak", "Sand!")
CLASSES = ("oak", "cat")
YES = {proper_noun_question("Paris").text, subcategory_question("holm oak", "oak").text}


@pytest.fixture
def server():
    """Knows the answers of the script; keeps the conversations."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append([message["content"] for message in body["messages"]])
            text = "Yes." if seen[-1][1] in YES else "No."
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
            reply = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(reply).encode())

        def log_message(self, *arguments):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.seen, http.url = seen, f"http://127.0.0.1:{http.server_port}/v1"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield http
    http.shutdown()
    http.server_close()
    thread.join()


def build(url, store):
    overrides = ["llm_filter=openai_api", "llm_filter.model=m", f"llm_filter.base_url={url}", f"paths.store={store}"]
    return instantiate(compose([*overrides, "llm_filter.retries=0"]).llm_filter)


def test_scripted_answers_give_the_known_labels(server, tmp_path):
    judge = build(server.url, tmp_path)
    assert isinstance(judge, LabelFilter) and isinstance(judge, OpenAIAPIFilter)
    result = judge.apply(named(NAMES), named(CLASSES), TextVectors())
    assert result.names == ("sand", "Sand") and result.positions.tolist() == [2, 4]
    assert [row["reason"] for row in result.verdicts] == ["proper noun", "subcategory", "", "the same", ""]
    assert all(system == SYSTEM_PROMPT for system, _ in server.seen)
    assert len({question for _, question in server.seen}) == len(server.seen)


def test_a_second_run_asks_nothing_and_a_gone_server_is_a_plain_message(server, tmp_path):
    first = build(server.url, tmp_path).apply(named(NAMES), named(CLASSES), TextVectors())
    count = len(server.seen)
    again = build(server.url, tmp_path).apply(named(NAMES), named(CLASSES), TextVectors())
    assert again.verdicts == first.verdicts and len(server.seen) == count
    with pytest.raises(UserError, match="Is it running"):
        build("http://127.0.0.1:9/v1", tmp_path).apply(named(NAMES), named(CLASSES), TextVectors())
