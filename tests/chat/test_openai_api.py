"""The openai package against a real HTTP server in a thread."""

import json
import logging
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from omegaconf import OmegaConf

from neglab.chat import openai_api
from neglab.chat.answers import Question, StoredAnswers
from neglab.chat.openai_api import OpenAIChat
from neglab.chat.replies import Reply, verdict
from neglab.types import UserError

KEY = "sk-very-secret-0123456789"
CUT, EMPTY = "cut at the token limit", Reply("", "empty")


class Server:
    """`script(question, attempt)` gives the text, parts of a message, (status, message), bytes, or seconds to sleep."""

    def __init__(self, script):
        self.script = script
        self.attempts = Counter()
        self.bodies = []
        self.keys = set()
        self.under_way = self.most_under_way = 0
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                outer.serve(self)

            def log_message(self, *arguments):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def serve(self, request):
        body = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        question = body["messages"][-1]["content"]
        with self.lock:
            self.bodies.append(body)
            self.keys.add(request.headers["Authorization"])
            self.attempts[question] += 1
            attempt = self.attempts[question]
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            status, content = self.reply(request, self.script(question, attempt))
        finally:
            with self.lock:
                self.under_way -= 1
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(content)))
        request.send_header("Retry-After-Ms", "20")
        request.end_headers()
        try:
            request.wfile.write(content)
        except BrokenPipeError:  # a client that waits no longer
            request.close_connection = True

    def reply(self, request, found):
        if request.path != "/v1/chat/completions":
            return 404, b'{"error": {"message": "no such page"}}'
        if isinstance(found, float):
            time.sleep(found)
            found = "No"
        if isinstance(found, bytes):
            return 200, found
        if isinstance(found, tuple):
            return found[0], json.dumps({"error": {"message": found[1]}}).encode()
        said = found if isinstance(found, dict) else {"content": found}
        end = said.get("finish_reason", "stop")
        choice = {"index": 0, "finish_reason": end, "message": {"role": "assistant", **said}}
        reply = {"id": "1", "object": "chat.completion", "created": 0, "model": "tiny", "choices": [choice]}
        return 200, json.dumps(reply).encode()

    def close(self):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def serve():
    servers = []

    def start(script):
        servers.append(Server(script))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    for name in ("OPENAI_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def chat(url, **changed):
    settings = {
        "base_url": url,
        "model": "tiny",
        "concurrency": 4,
        "retries": 2,
        "timeout": 20,
        "temperature": 0,
        "max_tokens": 8,
        "limit_field": "max_tokens",
        "system_role": "system",
        "extra_fields": {},
        "api_key_variable": "MY_KEY",
        "system_prompt": "Say Yes or No.",
    }
    return OpenAIChat(**{**settings, **changed})


@pytest.mark.parametrize(
    ("answer_form", "field", "said"),
    [
        ("json_schema", "response_format", '{"answer": "Yes"}'),
        ("choice", "structured_outputs", "Yes"),
        ("guided_choice", "guided_choice", "Yes"),
    ],
)
def test_a_server_is_held_to_yes_or_no_in_questions_alone(serve, answer_form, field, said):
    server = serve(lambda question, attempt: said)
    talk = chat(server.url, answer_form=answer_form)
    ((_, reply),) = talk.ask(["Is it?"])
    assert verdict(reply.text) == "yes" and field in server.bodies[0]
    assert '["Yes", "No"]' in json.dumps(server.bodies[0][field])
    talk.complete([[{"role": "user", "content": "List fifty animals."}]], 8)
    assert field not in server.bodies[1]


@pytest.mark.parametrize(
    ("reasoning", "field", "value"),
    [("template_off", "chat_template_kwargs", {"enable_thinking": False}), ("low", "reasoning_effort", "low")],
)
def test_a_model_thinks_as_long_as_it_is_told_to(serve, reasoning, field, value):
    server = serve(lambda question, attempt: "<think>\nhm\n</think>\n\nNo")
    talk = chat(server.url, reasoning=reasoning)
    assert dict(talk.ask(["Is it?"])) == {0: Reply("No")} and server.bodies[0][field] == value
    own = chat(server.url, reasoning=reasoning, extra_fields={field: "mine"})
    talk.complete([[{"role": "user", "content": "a"}]], 8)
    own.complete([[{"role": "user", "content": "b"}]], 8)
    assert [body[field] for body in server.bodies[1:]] == [value, "mine"]


def test_unknown_switches():
    for name in ("reasoning", "answer_form"):
        with pytest.raises(UserError, match=f"{name} must be one of null, .*; got 'loud'"):
            chat("http://here", **{name: "loud"})


def test_answers_belong_to_their_questions(serve):
    server = serve(lambda question, attempt: f"Yes {question}")
    talk = chat(server.url)
    questions = [f"question {i}" for i in range(30)]
    assert dict(talk.ask(questions)) == {i: Reply(f"Yes {text}") for i, text in enumerate(questions)}
    assert server.bodies[0] == {
        "model": "tiny",
        "temperature": 0,
        "max_tokens": 8,
        "messages": [
            {"role": "system", "content": "Say Yes or No."},
            {"role": "user", "content": server.bodies[0]["messages"][1]["content"]},
        ],
    }
    assert server.keys == {f"Bearer {KEY}"}
    assert list(talk.ask([])) == []


def test_the_number_of_requests_under_way_is_limited(serve):
    three = threading.Barrier(3, timeout=120)
    server = serve(lambda question, attempt: "No" if three.wait() < 3 else "")
    dict(chat(server.url, concurrency=3, timeout=120).ask([str(i) for i in range(30)]))
    assert server.most_under_way == 3


def test_a_server_without_a_key_and_without_a_temperature(serve, monkeypatch):
    monkeypatch.delenv("MY_KEY")
    server = serve(lambda question, attempt: "No")
    dict(chat(server.url, temperature=None).ask(["one"]))
    assert server.keys == {"Bearer none"} and "temperature" not in server.bodies[0]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_overloaded_server_is_asked_again(serve, status):
    server = serve(lambda question, attempt: "Yes" if attempt == 3 else (status, "busy"))
    assert dict(chat(server.url).ask(["one"])) == {0: Reply("Yes")}
    assert server.attempts["one"] == 3


@pytest.mark.parametrize(("status", "message"), [(429, "too many"), (500, "status 500")])
def test_a_server_that_stays_overloaded(serve, status, message):
    server = serve(lambda question, attempt: (status, "busy"))
    with pytest.raises(UserError, match=f"{message}.*answers so far are kept.*busy"):
        dict(chat(server.url).ask(["one"]))
    assert server.attempts["one"] == 3


def test_a_wrong_key_is_not_tried_again(serve):
    server = serve(lambda question, attempt: (401, f"Incorrect API key provided: {KEY}"))
    with pytest.raises(UserError, match=r"must be given a valid key; .* MY_KEY\.") as caught:
        dict(chat(server.url, concurrency=1).ask([str(i) for i in range(20)]))
    assert KEY not in str(caught.value) and "[key]" in str(caught.value)
    assert sum(server.attempts.values()) == 1


def test_an_absent_key_is_said_to_be_absent(serve, monkeypatch):
    monkeypatch.delenv("MY_KEY")
    server = serve(lambda question, attempt: (401, "no key"))
    with pytest.raises(UserError, match="MY_KEY, which is not set"):
        dict(chat(server.url).ask(["one"]))


def test_an_unknown_model_and_a_wrong_address(serve):
    server = serve(lambda question, attempt: (404, "The model `tiny` does not exist"))
    with pytest.raises(UserError, match=r"model must be one that .* serves.*does not exist"):
        dict(chat(server.url).ask(["one"]))
    with pytest.raises(UserError, match="mostly in /v1"):
        dict(chat(server.url.removesuffix("/v1")).ask(["one"]))


def test_a_request_that_the_server_refuses(serve):
    server = serve(lambda question, attempt: (400, "max_tokens is not supported"))
    with pytest.raises(UserError, match=r"status 400.*max_tokens is not supported"):
        dict(chat(server.url).ask(["one"]))


def test_a_server_that_takes_too_long(serve):
    server = serve(lambda question, attempt: 1.5)
    with pytest.raises(UserError, match=r"within 0\.2 seconds .*nor did its 1 repetitions.*the same command"):
        dict(chat(server.url, timeout=0.2, retries=1).ask(["one"]))
    deadline = time.monotonic() + 60
    while (
        server.attempts["one"] < 2 and time.monotonic() < deadline
    ):  # what the client has sent may still be on its way
        time.sleep(0.02)
    assert server.attempts["one"] == 2


def test_no_server_at_all():
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9/v1 cannot\. Is it running.*the same command"):
        dict(chat("http://127.0.0.1:9/v1", retries=0).ask(["one"]))


@pytest.mark.parametrize(
    "garbage", [b"not json", b"{}", b'{"choices": []}', b'{"choices": [{"message": null}]}', b"[]"]
)
def test_a_reply_in_another_format(serve, garbage):
    server = serve(lambda question, attempt: garbage)
    with pytest.raises(UserError, match="must answer in the format"):
        dict(chat(server.url, retries=0).ask(["one"]))


def test_strange_words_are_answers(serve):
    server = serve(lambda question, attempt: {"a": "¿Qué?", "b": "", "c": None}[question])
    assert dict(chat(server.url).ask(["a", "b", "c"])) == {0: Reply("¿Qué?"), 1: EMPTY, 2: EMPTY}


@pytest.mark.parametrize(
    ("odd", "expected"),
    [
        ("<think>It may be. Yes?</think>\n\nNo.", Reply("No.")),
        ("It may be. Yes?\n</think>\n\nNo.", Reply("No.")),  # the template has begun the thoughts
        ({"content": [{"type": "thinking", "text": "Yes?"}, {"type": "text", "text": "No."}]}, Reply("No.")),
        ({"content": None, "reasoning_content": "Yes?"}, EMPTY),
        ({"content": None, "reasoning_content": "Yes?", "finish_reason": "length"}, Reply("", CUT)),
        ({"content": "<think>It may be. Yes", "finish_reason": "length"}, Reply("", CUT)),
        ({"content": "Let me see", "finish_reason": "length"}, Reply("Let me see", CUT)),
        ({"content": None, "refusal": "I will not."}, Reply("", "refused")),
        ({"content": "", "finish_reason": "content_filter"}, Reply("", "refused")),
    ],
)
def test_odd_replies(serve, odd, expected):
    server = serve(lambda question, attempt: odd)
    assert dict(chat(server.url).ask(["one"])) == {0: expected}
    assert chat(server.url).complete([[{"role": "user", "content": "one"}]], 9) == [expected]


@pytest.mark.parametrize("broken", [b'{"id": "1", "choices": [{"index"', b"{}", b'{"error": {"message": "try again"}}'])
def test_a_reply_that_is_none_is_repeated_like_a_failing_server(serve, monkeypatch, broken):
    monkeypatch.setattr(openai_api, "PAUSE", 0.01)
    server = serve(lambda question, attempt: "Yes" if attempt == 3 else broken)
    assert dict(chat(server.url).ask(["one"])) == {0: Reply("Yes")}
    assert server.attempts["one"] == 3


def test_an_error_inside_a_good_status_is_said_in_the_servers_words(serve):
    server = serve(lambda question, attempt: b'{"error": {"message": "No credit left.", "code": 402}}')
    with pytest.raises(UserError, match=r"must answer in the format .*\(No credit left\.\)"):
        dict(chat(server.url, retries=0).ask(["one"]))


@pytest.mark.parametrize(
    ("end", "shown"), [("\r", r"has '\\r', in place 26 of 26"), (" x", "has ' ', in place 26 of 27")]
)
def test_a_key_that_no_header_can_hold(serve, monkeypatch, end, shown):
    monkeypatch.setenv("MY_KEY", KEY + end)
    server = serve(lambda question, attempt: "Yes")
    with pytest.raises(UserError, match=f"environment variable MY_KEY {shown}") as caught:
        dict(chat(server.url).ask(["one"]))
    assert KEY not in str(caught.value) and not server.bodies


def test_what_reasoning_models_ask_for(serve):
    server = serve(lambda question, attempt: "Yes")
    settings = {"limit_field": "max_completion_tokens", "system_role": "developer", "temperature": None}
    talk = chat(server.url, **settings, extra_fields=OmegaConf.create({"reasoning_effort": "low", "stop": ["x"]}))
    dict(talk.ask(["one"]))
    dict(chat(server.url, system_role=None).ask(["one"]))
    messages = [{"role": "developer", "content": "Say Yes or No."}, {"role": "user", "content": "one"}]
    assert server.bodies[0] == {
        "model": "tiny", "max_completion_tokens": 8, "messages": messages, "reasoning_effort": "low", "stop": ["x"],
    }  # fmt: skip
    assert server.bodies[1]["messages"] == [{"role": "user", "content": "Say Yes or No.\n\none"}]
    identities = [talk.identity, chat(server.url, temperature=None).identity, chat(server.url).identity]
    assert len({json.dumps(identity) for identity in identities}) == 3


def test_only_answers_are_stored_and_the_rest_is_asked_again(serve, tmp_path):
    replies = {
        "clear": "Yes",
        "thoughts": "<think>hm</think> No",
        "clear but cut": {"content": "No, for the", "finish_reason": "length"},
        "cut": {"content": "Well, one", "finish_reason": "length"},
        "thinking": {"content": "<think>Well, Yes", "finish_reason": "length"},
        "empty": "",
        "null": None,
        "refused": {"content": "Yes", "refusal": "I will not."},
    }
    server = serve(lambda question, attempt: replies[question])
    questions = [Question("proper_noun", text, None, text) for text in replies]
    first = {item.text: answer for item, answer in StoredAnswers(chat(server.url), tmp_path)(questions).items()}
    assert first == {
        "clear": "Yes",
        "thoughts": "No",
        "clear but cut": "No, for the",
        "cut": "[cut at the token limit] Well, one",
        "thinking": "[cut at the token limit]",
        "empty": "[empty]",
        "null": "[empty]",
        "refused": "[refused] Yes",
    }
    replies |= {text: "No" for text, answer in first.items() if answer.startswith("[")}
    again = {item.text: answer for item, answer in StoredAnswers(chat(server.url), tmp_path)(questions).items()}
    assert again == first | {text: "No" for text, answer in first.items() if answer.startswith("[")}
    asked_twice = {text for text, count in server.attempts.items() if count == 2}
    assert asked_twice == {"cut", "thinking", "empty", "null", "refused"}


def test_answers_under_way_at_a_failure_are_kept_and_the_next_run_goes_on(serve, tmp_path):
    broken = True

    def script(question, attempt):
        if question == "5":
            return (401, "expired") if broken else "Yes"
        return 0.2

    server = serve(script)
    questions = [Question("proper_noun", str(i), None, str(i)) for i in range(40)]
    with pytest.raises(UserError, match="valid key"):
        StoredAnswers(chat(server.url), tmp_path)(questions)
    answered = Counter(server.attempts)
    del answered["5"]
    assert 5 <= len(answered) <= 20  # the failing request, and those that were under way beside it
    broken = False
    answers = StoredAnswers(chat(server.url), tmp_path)(questions)
    assert len(answers) == 40
    assert {text: count for text, count in server.attempts.items() if count > 1} == {"5": 2}


def test_a_reader_who_leaves_stops_the_rest(serve):
    server = serve(lambda question, attempt: 0.05)
    reader = chat(server.url).ask([str(i) for i in range(400)])
    next(reader)
    reader.close()
    assert len(server.attempts) < 400


def test_the_key_is_never_kept(serve, tmp_path, caplog):
    server = serve(lambda question, attempt: "Yes")
    secret_url = server.url.replace("http://", "http://user:hidden-password@") + "?token=hidden-token"
    talk = chat(secret_url.partition("?")[0])
    with caplog.at_level(logging.DEBUG):
        StoredAnswers(talk, tmp_path)([Question("proper_noun", "a", None, "a")])
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"proper_noun" in written
    identity = json.dumps([talk.identity, chat(secret_url).identity])
    for text in (written.decode(), repr(talk), repr(vars(talk)), identity, caplog.text):
        assert KEY not in text
    for text in (written.decode(), identity):
        assert "hidden" not in text
    assert "Authorization" not in written.decode()


def test_identity_names_what_decides_an_answer():
    base = chat("http://one/v1")
    same = [
        chat("http://one/v1/"),
        chat("http://one/v1", concurrency=1, retries=9, timeout=3, api_key_variable="OTHER"),
    ]
    assert all(talk.identity == base.identity for talk in same)
    changes = [{"model": "large"}, {"temperature": 0.5}, {"max_tokens": 9}, {"system_prompt": "Be brief."}]
    changes += [{"system_role": None}, {"extra_fields": {"seed": 1}}]
    changes += [{"answer_form": "choice"}, {"answer_form": "json_schema"}, {"reasoning": "low"}]
    different = [chat("http://two/v1"), *(chat("http://one/v1", **change) for change in changes)]
    assert len({json.dumps(talk.identity, sort_keys=True) for talk in [base, *different]}) == 11


def test_free_text(serve):
    server = serve(lambda question, attempt: question.upper())
    conversations = [[{"role": "user", "content": text}] for text in ("one", "two", "three")]
    assert chat(server.url).complete(conversations, max_new_tokens=77) == [Reply("ONE"), Reply("TWO"), Reply("THREE")]
    assert {body["max_tokens"] for body in server.bodies} == {77}
    assert all(len(body["messages"]) == 1 for body in server.bodies)
    with pytest.raises(UserError, match="Is it running") as caught:
        chat("http://127.0.0.1:9/v1", retries=0).complete(conversations, max_new_tokens=77)
    assert "kept" not in str(caught.value)  # nobody has stored them


def test_mistakes_about_arguments(monkeypatch):
    for name, value in (
        ("concurrency", 0),
        ("retries", -1),
        ("timeout", 0),
        ("max_tokens", 0),
        ("limit_field", "limit"),
        ("system_role", "boss"),
    ):
        with pytest.raises(UserError, match=rf"language model's {name} must be"):
            chat("http://one/v1", **{name: value})
    with pytest.raises(UserError, match=r"base_url must begin with http"):
        chat("localhost:8000")
    monkeypatch.setitem(__import__("sys").modules, "openai", None)
    with pytest.raises(UserError, match=r"pip install 'neglab\[llm\]'"):
        dict(chat("http://one/v1").ask(["one"]))


def test_half_a_character_in_an_answer_becomes_a_question_mark(serve):
    choice = b'{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "No \\ud800"}}'
    reply = b'{"id": "1", "object": "chat.completion", "created": 0, "model": "tiny", "choices": [' + choice + b"]}"
    server = serve(lambda question, attempt: reply)
    assert list(chat(server.url).ask(["q"])) == [(0, Reply("No ?"))]


PRESSED = """
import os, signal, sys, threading
from neglab.chat.openai_api import OpenAIChat
limits = dict(concurrency=2, retries=0, timeout=60, temperature=0, max_tokens=8)
names = dict(limit_field="max_tokens", system_role="system", api_key_variable="MY_KEY", system_prompt="")
chat = OpenAIChat(sys.argv[1], "tiny", **limits, **names, extra_fields={})
answers = chat.ask(["a", "b", "c"])
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are started to ignore it
try:
    next(answers)
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    next(answers)
except KeyboardInterrupt:
    sys.stdout.write("pressed")
"""


def test_ctrl_c_ends_at_once_where_a_server_does_not_answer(serve):
    answered = []

    def script(question, attempt):
        answered.append(time.monotonic())
        return "No" if question == "a" else 25.0  # not by the number answered: two come at one moment

    server = serve(script)
    finished = subprocess.run([sys.executable, "-c", PRESSED, server.url], capture_output=True, text=True, timeout=300)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "pressed", "")
    assert time.monotonic() - answered[0] < 15
