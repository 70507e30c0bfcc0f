"""The contract of a chat model: yes-no questions in, answers out; and free text for whoever needs it."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from neglab.chat.replies import Reply
from neglab.types import UserError

# What a failure while answering questions ends with: the answers are stored one by one (`StoredAnswers`).
KEPT = "The answers so far are kept: the same command goes on from there."
Message = Mapping[str, Any]  # "role": "system", "user" or "assistant"; "content": its text, or parts with pictures


class Chat(ABC):
    """A language model that answers questions under one fixed system prompt.

    Attributes:
        sees_pictures: a message may have pictures among its parts.
    """

    sees_pictures: ClassVar[bool] = False

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Everything that decides an answer, as a JSON-like value; holds `model` and `revision`, and never a key."""

    @abstractmethod
    def ask(self, questions: Sequence[str]) -> Iterator[tuple[int, Reply]]:
        """Positions and answers, each as soon as it is there and in any order, so that it can be stored at once."""

    @abstractmethod
    def complete(self, conversations: Sequence[Sequence[Message]], max_new_tokens: int) -> list[Reply]:
        """The model's next message in each conversation, as free text; the chat's own system prompt stays out."""


def question_messages(system_prompt: str, question: str) -> list[Message]:
    """The conversation that a question opens."""
    return [{"role": "system", "content": system_prompt}, {"role": "user", "content": question}]


def without_system(messages: Sequence[Message]) -> list[Message]:
    """System texts put in front of the first message of the user, for models without a system role."""
    system = "\n\n".join(message["content"] for message in messages if message["role"] == "system")
    rest = [message for message in messages if message["role"] != "system"]
    if not system or not rest:
        return rest
    return [{**rest[0], "content": f"{system}\n\n{rest[0]['content']}"}, *rest[1:]]


def require_choice(name: str, value: Any, allowed: Iterable[Any]) -> None:
    """Hold a key of the config to a few values.

    Raises:
        UserError: it is none of them.
    """
    choices = list(allowed)
    if value not in choices:
        shown = ", ".join("null" if choice is None else choice for choice in choices)
        raise UserError(f"The language model's {name} must be one of {shown}; got {value!r}.")


def require_count(name: str, value: Any, least: int) -> None:
    """Hold a key of the config to a whole number.

    Raises:
        UserError: it is another thing, or too small.
    """
    if not isinstance(value, int) or value < least:
        raise UserError(f"The language model's {name} must be a whole number, at least {least}; got {value!r}.")
