"""Any server that speaks OpenAI's chat completions: OpenAI itself, vLLM, Ollama, llama.cpp and others."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any, ClassVar
from urllib.parse import urlsplit, urlunsplit

from neglab.chat.base import KEPT, Chat, Message, question_messages, require_choice, require_count, without_system
from neglab.chat.replies import Reply
from neglab.chat.request_forms import ANSWER_FORMS, REASONING, chosen
from neglab.types import UserError

NO_KEY = "none"  # servers on one's own machine ask for none, the client for some
LIMIT_FIELDS = ("max_tokens", "max_completion_tokens")
SYSTEM_ROLES = ("system", "developer", None)
PAUSE, LONGEST_PAUSE = 0.5, 8.0  # seconds before a repetition, doubled each time: those of the openai package


class OpenAIChat(Chat):
    """A language model behind a server.

    Args:
        base_url: where the server listens, up to and with its version, such as "http://localhost:8000/v1".
        model: the name that the server knows the model by.
        concurrency: requests under way at once, at most.
        retries: how often a request that timed out, was refused a connection, met an overloaded or failing server, or
            was answered with something that is no chat completion is sent again, each time after a longer pause.
        timeout: seconds that one request may take.
        temperature: of sampling, 0 for the likeliest tokens; None leaves it to the server.
        max_tokens: longest answer, the thoughts of a model that thinks first among it.
        limit_field: what the server calls that limit: "max_tokens" or, for OpenAI's reasoning models,
            "max_completion_tokens".
        system_role: what the server calls the role of the system prompt: "system" or "developer"; None: the model
            knows none, and the system prompt stands before the question.
        extra_fields: more fields of each request, as the server knows them.
        api_key_variable: environment variable that holds the key. The key itself is never kept, logged or written.
        system_prompt: opens every question's conversation.
        reasoning: how long the model thinks first, a key of `REASONING`; None leaves it to the server.
        answer_form: what holds the answers to questions to yes or no, a key of `ANSWER_FORMS`; None: nothing.

    Raises:
        UserError: an argument is out of range; openai is not installed; the server refuses the key, the model or
            the request; or it cannot be reached.
    """

    sees_pictures: ClassVar[bool] = True  # where the model behind the server does

    def __init__(
        self,
        base_url: str,
        model: str,
        concurrency: int,
        retries: int,
        timeout: int | float,
        temperature: int | float | None,
        max_tokens: int,
        limit_field: str,
        system_role: str | None,
        extra_fields: Mapping[str, Any],
        api_key_variable: str,
        system_prompt: str,
        reasoning: str | None = None,
        answer_form: str | None = None,
    ) -> None:
        if urlsplit(base_url).scheme not in ("http", "https"):
            raise UserError(f"The language model's base_url must begin with http:// or https://; got {base_url!r}.")
        require_count("concurrency", concurrency, 1)
        require_count("retries", retries, 0)
        require_count("max_tokens", max_tokens, 1)
        if not isinstance(timeout, int | float) or timeout <= 0:
            raise UserError(f"The language model's timeout must be positive, in seconds; got {timeout!r}.")
        if not isinstance(temperature, int | float | None):
            raise UserError(f"The language model's temperature must be a number or null; got {temperature!r}.")
        require_choice("limit_field", limit_field, LIMIT_FIELDS)
        require_choice("system_role", system_role, SYSTEM_ROLES)
        self.base_url = base_url
        self.model = model
        self.concurrency = concurrency
        self.retries = retries
        self.timeout = timeout
        self.temperature = None if temperature is None else float(temperature)
        self.max_tokens = max_tokens
        self.limit_field = limit_field
        self.system_role = system_role
        self.extra_fields = {**chosen("reasoning", reasoning, REASONING), **_plain(extra_fields)}
        self.answer_fields = chosen("answer_form", answer_form, ANSWER_FORMS)
        self.api_key_variable = api_key_variable
        self.system_prompt = system_prompt

    @property
    def identity(self) -> dict[str, Any]:
        # Left out where they are as in older stores, whose answers stay good.
        unusual = {} if self.system_role == "system" else {"system_role": self.system_role}
        unusual |= {"extra_fields": self.extra_fields} if self.extra_fields else {}
        unusual |= {"answer_fields": self.answer_fields} if self.answer_fields else {}
        return {
            "chat": "openai_api",
            "base_url": self._public_url,
            "model": self.model,
            "revision": None,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "system_prompt": self.system_prompt,
            **unusual,
        }

    def ask(self, questions: Sequence[str]) -> Iterator[tuple[int, Reply]]:
        conversations = [question_messages(self.system_prompt, question) for question in questions]
        yield from self._answers(conversations, self.max_tokens, KEPT, self.answer_fields)

    def complete(self, conversations: Sequence[Sequence[Message]], max_new_tokens: int) -> list[Reply]:
        found = dict(self._answers(conversations, max_new_tokens, "", {}))
        return [found[i] for i in range(len(conversations))]

    @property
    def _public_url(self) -> str:
        """The server's address without a user's name, password or query, any of which may be a secret."""
        parts = urlsplit(self.base_url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")).rstrip("/")

    def _client(self) -> Any:
        """Made for one round of requests: nothing holds the key any longer."""
        try:
            import openai
        except ImportError as error:
            raise UserError(
                "A language model behind a server needs the openai package: pip install 'neglab[llm]'"
            ) from error
        key = os.environ.get(self.api_key_variable) or NO_KEY
        if strange := next((character for character in key if not "!" <= character <= "~"), None):
            raise UserError(
                f"A key must be of characters that a header can hold; that in the environment variable "
                f"{self.api_key_variable} has {strange!r}, in place {key.index(strange) + 1} of {len(key)}. Set it "
                "anew; a file that was saved under Windows ends its lines with '\\r'."
            )
        return openai.OpenAI(base_url=self.base_url, api_key=key, timeout=self.timeout, max_retries=self.retries)

    def _answers(
        self, conversations: Sequence[Sequence[Message]], max_tokens: int, kept: str, fields: Mapping[str, Any]
    ) -> Iterator[tuple[int, Reply]]:
        """Answers as they come. After a failure nothing new is sent, and what is under way is still handed on.

        The threads are daemons: whoever presses Ctrl-C need not wait for a server that does not answer.
        """
        if not conversations:
            return
        client, failure, stop = self._client(), None, Event()
        settings = {self.limit_field: max_tokens, "extra_body": {**fields, **self.extra_fields}}
        waiting: SimpleQueue[tuple[int, Sequence[Message]]] = SimpleQueue()
        done: SimpleQueue[tuple[int, Reply | BaseException] | None] = SimpleQueue()
        for item in enumerate(conversations):
            waiting.put(item)

        def work() -> None:
            with suppress(Empty):
                while not stop.is_set():
                    i, messages = waiting.get_nowait()
                    try:
                        if (reply := self._request(client, messages, settings, stop)) is not None:
                            done.put((i, reply))
                    except BaseException as error:
                        stop.set()
                        done.put((i, error))
            done.put(None)

        num_running = min(self.concurrency, len(conversations))
        for _ in range(num_running):
            Thread(target=work, daemon=True).start()
        try:
            while num_running:
                if (item := done.get()) is None:
                    num_running -= 1
                elif isinstance(item[1], BaseException):
                    failure = failure or item[1]
                else:
                    yield item[0], item[1]
        finally:
            stop.set()
        client.close()
        if failure is not None:
            raise self._translated(failure, kept) from None

    def _request(
        self, client: Any, messages: Sequence[Message], settings: Mapping[str, Any], stop: Event
    ) -> Reply | None:
        """The server's answer, or None where another request has failed before this one began."""
        for attempt in range(self.retries + 1):
            if stop.is_set():
                return None
            try:
                return self._reply(client, messages, settings)
            except ValueError:  # no chat completion, such as JSON that is cut; the client repeats what else may pass
                if attempt == self.retries:
                    stop.set()
                    raise
                stop.wait(min(PAUSE * 2**attempt, LONGEST_PAUSE))
            except BaseException:
                stop.set()
                raise
        return None

    def _reply(self, client: Any, messages: Sequence[Message], settings: Mapping[str, Any]) -> Reply:
        if self.temperature is not None:
            settings = {**settings, "temperature": self.temperature}
        if self.system_role is None:
            messages = without_system(messages)
        sent = [
            {**message, "role": self.system_role} if message["role"] == "system" else dict(message)
            for message in messages
        ]
        answer = client.chat.completions.create(model=self.model, messages=sent, **settings)
        if error := getattr(answer, "error", None):  # some servers send their errors with status 200
            raise ValueError(error.get("message", error) if isinstance(error, dict) else error)
        try:
            choice = answer.choices[0]
            return Reply.of(
                choice.message.content,
                cut=choice.finish_reason == "length",
                refused=choice.finish_reason == "content_filter" or bool(getattr(choice.message, "refusal", None)),
            )
        except (AttributeError, IndexError, TypeError) as error:
            raise ValueError("the reply holds no message") from error

    def _translated(self, failure: BaseException, kept: str) -> BaseException:
        """What to do about a failed request; anything unforeseen stays as it is."""
        import openai

        server = self._public_url
        match failure:
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                rule = (
                    f"{server} must be given a valid key; it refused the one in the environment variable "
                    f"{self.api_key_variable}{'' if os.environ.get(self.api_key_variable) else ', which is not set'}."
                )
            case openai.NotFoundError():
                rule = (
                    f"The language model must be one that {server} serves, and its base_url must end as the "
                    f"server wants it, mostly in /v1; got {self.model}."
                )
            case openai.APITimeoutError():
                rule = (
                    f"{server} must answer within {self.timeout:g} seconds (the language model's timeout); a request "
                    f"did not, nor did its {self.retries} repetitions. Is concurrency={self.concurrency} too much?"
                )
            case openai.APIConnectionError():
                rule = f"The language model's base_url must be a server to be reached; {server} cannot. Is it running?"
            case openai.RateLimitError():
                rule = f"{server} turns requests down as too many. Lower concurrency, or wait."
            case openai.APIStatusError():
                rule = f"{server} must answer a chat completion; it answered with status {failure.status_code}."
            case openai.APIError() | ValueError():
                rule = f"{server} must answer in the format of OpenAI's chat completions; its answer is none."
            case _:
                return failure
        return UserError(" ".join(filter(None, (rule, kept, self._detail(failure)))))

    def _detail(self, failure: BaseException) -> str:
        """The server's own words, without the key that some servers repeat."""
        text = str(failure).strip()[:400]
        for secret in filter(None, (os.environ.get(self.api_key_variable), urlsplit(self.base_url).password)):
            text = text.replace(secret, "[key]")
        return f"({text})" if text else ""


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields as plain values; the parts of a config are none."""
    try:
        return json.loads(json.dumps(fields, default=_container))
    except (TypeError, ValueError) as error:
        raise UserError(f"The language model's extra_fields must be JSON; got {fields!r} ({error}).") from error


def _container(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else list(value)
