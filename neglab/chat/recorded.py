"""Replies that a language model gave once, in a file."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neglab.chat.base import Chat, Message
from neglab.chat.replies import Reply
from neglab.files import read_json
from neglab.types import UserError


@dataclass(frozen=True)
class Recorded:
    """A conversation and what the model said to it, as they stand in files.

    Attributes:
        messages: the conversation.
        reply: the model's next message.
    """

    messages: list[dict[str, str]]
    reply: str


class RecordedChat(Chat):
    """Says again what was said in the very same conversation.

    Args:
        path: a JSON list of {"messages": [...], "reply": "..."}.
        model: who said it, for the records.
    """

    def __init__(self, path: str, model: str) -> None:
        self.path, self.model = Path(path).expanduser(), model

    @property
    def identity(self) -> dict[str, Any]:
        return {"model": self.model, "revision": "recorded", "path": self.path.name}

    def ask(self, questions: Sequence[str]) -> Iterator[tuple[int, Reply]]:
        raise UserError("Recorded replies hold conversations, not answers to questions: choose llm_filter=replay.")

    def complete(self, conversations: Sequence[Sequence[Message]], max_new_tokens: int) -> list[Reply]:
        try:
            known = {json.dumps(row.messages): row.reply for row in read_json(self.path, list[Recorded])}
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self.path} must be a list of recorded conversations; it cannot be read: {error}"
            ) from None
        keys = [json.dumps(list(conversation)) for conversation in conversations]
        if any(key not in known for key in keys):
            raise UserError(
                f"{self.path} holds the replies for the shipped ID classes alone. For other classes ask a model: "
                "corpus=eoe_openai_api corpus.chat.base_url=... corpus.chat.model=..., or corpus=eoe_huggingface; or "
                "bring a list of labels: corpus=file corpus.path=..."
            )
        return [Reply.of(known[key]) for key in keys]
