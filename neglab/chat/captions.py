"""What a chat model says of pictures: each question about a picture is asked once, whatever run comes next."""

import base64
import hashlib
import io
import json
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock
from PIL import Image

from neglab.chat.base import KEPT, Chat, Message
from neglab.chat.replies import too_many
from neglab.files import DamagedError, decode, digest, read_bytes
from neglab.ranges import Share
from neglab.types import UserError

logger = logging.getLogger(__name__)

AT_ONCE = 64  # questions after which their answers are stored
NUMBERED = re.compile(r"\s*\d+[.):-]\s*(.+)")
Key = tuple[str, str, int]


@dataclass(frozen=True)
class Caption:
    """An answer as it stands in a file, one per line.

    Attributes:
        picture: SHA-256 of size and pixels.
        question: about it.
        max_new_tokens: longest answer.
        answer: what the model said.
        model: which one.
    """

    picture: str
    question: str
    max_new_tokens: int
    answer: str
    model: str

    @property
    def key(self) -> Key:
        return self.picture, self.question, self.max_new_tokens


class Captioner:
    """Answers about pictures: recorded ones, then those of the store, then the model's.

    Args:
        chat: a model that sees pictures; None: no model is asked.
        recorded: a file of answers, such as one of the store's `answers/pictures-*.jsonl`; None: there is none.
        max_flawed: share of a call's answers that may be empty or refused; they are not stored. One that is cut at the
            token limit counts: a caption is asked for in few tokens.
        store: folder of the store.

    Raises:
        UserError: neither chat nor recorded answers, a chat without eyes, or answers that cannot be read.
    """

    def __init__(self, chat: Chat | None, recorded: str | None, max_flawed: Share, store: str) -> None:
        if chat is None and recorded is None:
            raise UserError("Pictures are described by a chat model or recorded answers; got neither of the two.")
        if chat is not None and not chat.sees_pictures:
            raise UserError(
                f"The chat model must see pictures; {chat.identity['model']} is asked through a door for text alone. "
                "Use a server of OpenAI's chat completions, such as vLLM with Qwen2.5-VL."
            )
        self.chat, self.max_flawed, self.folder = chat, max_flawed, Path(store).expanduser() / "answers"
        self.recorded = {} if recorded is None else _recorded(Path(recorded).expanduser())

    def __call__(self, pictures: Sequence[Image.Image], questions: Sequence[str], max_new_tokens: int) -> list[str]:
        """What is said of each picture in answer to its question; "" where no answer is whole.

        Raises:
            UserError: too many answers are empty or refused, the chat failed, or a recorded answer is missing.
        """
        digests = [picture_digest(picture) for picture in pictures]
        keys = [(*pair, max_new_tokens) for pair in zip(digests, questions, strict=True)]
        known = {**self._stored(), **self.recorded}
        lacking = {key: i for i, key in enumerate(keys) if key not in known}
        if lacking and self.chat is None:
            raise UserError(
                f"{len(lacking)} of {len(keys)} pictures have no recorded answer to {next(iter(lacking))[1]!r}. They "
                "were recorded for other images, another stream or other questions: name a chat model that sees "
                "pictures (captioner.chat)."
            )
        flaws = [flaw for part in _parts(list(lacking.values())) for flaw in self._ask(part, pictures, keys, known)]
        if too_many(len(flaws), len(keys), self.max_flawed):
            raise UserError(
                f"The language model must say what it sees; {len(flaws)} of {len(keys)} answers are {flaws[0]}. Does "
                f"it see pictures? {KEPT}"
            )
        return [known.get(key, "") for key in keys]

    def _ask(
        self, part: Sequence[int], pictures: Sequence[Image.Image], keys: Sequence[Key], known: dict[Key, str]
    ) -> list[str]:
        """Put the answers of some pictures among the known ones and into the store; what was wrong with the others."""
        assert self.chat is not None
        conversations = [[picture_message(keys[i][1], pictures[i])] for i in part]
        replies = self.chat.complete(conversations, keys[part[0]][2])
        found = [(keys[i], reply) for i, reply in zip(part, replies, strict=True)]
        whole = {key: reply.text for key, reply in found if reply.text and reply.flaw != "refused"}
        model = str(self.chat.identity["model"])
        self._append(Caption(*key, answer, model) for key, answer in whole.items())
        known |= whole
        return [reply.flaw or "empty" for key, reply in found if key not in whole]

    @property
    def _path(self) -> Path:
        assert self.chat is not None
        return self.folder / f"pictures-{digest(self.chat.identity)}.jsonl"

    def _stored(self) -> dict[Key, str]:
        if self.chat is None or not self._path.exists():
            return {}
        captions, num_damaged = parse_captions(read_bytes(self._path))
        if num_damaged:
            logger.warning("%d damaged lines in %s are skipped: those are asked again", num_damaged, self._path)
        return _by_key(captions)

    def _append(self, captions: Iterable[Caption]) -> None:
        content = "".join(json.dumps(asdict(caption), ensure_ascii=False) + "\n" for caption in captions)
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self._path.with_suffix(".lock")), self._path.open("a", encoding="utf-8") as file:
            # A killed run may have left a line without an end; an empty one does no harm.
            file.write("\n" + content)


def picture_message(question: str, picture: Image.Image) -> Message:
    """What a user asks about a picture, as OpenAI's chat completions take it."""
    content = io.BytesIO()
    picture.save(content, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": question}]
    return {"role": "user", "content": parts}


def picture_digest(picture: Image.Image) -> str:
    """Of a picture's mode, size and pixels."""
    return hashlib.sha256(f"{picture.mode} {picture.size} ".encode() + picture.tobytes()).hexdigest()


def parse_captions(content: bytes) -> tuple[list[Caption], int]:
    """The answers of a file, and how many of its lines are none."""
    captions, num_damaged = [], 0
    for line in filter(bytes.strip, content.split(b"\n")):
        try:
            captions.append(decode(line, Caption))
        except DamagedError:
            num_damaged += 1
    return captions, num_damaged


def cleaned(labels: Iterable[str]) -> list[str]:
    """Labels without full stops at their ends and without repeated spaces, each once whatever its case."""
    found: dict[str, str] = {}
    for label in labels:
        text = " ".join(label.strip().rstrip(".").split())
        if text:
            found.setdefault(text.casefold(), text)
    return list(found.values())


def numbered(answer: str, count: int) -> list[str]:
    """The first labels of a numbered list."""
    lines = map(NUMBERED.match, answer.splitlines())
    return cleaned(line[1] for line in lines if line)[:count]


def _recorded(path: Path) -> dict[Key, str]:
    try:
        captions, num_damaged = parse_captions(read_bytes(path))
    except OSError as error:
        raise UserError(f"Recorded answers must be a file; {path} cannot be read: {error.strerror}.") from None
    if num_damaged or not captions:
        raise UserError(f"{path} must hold one recorded answer about a picture per line; {num_damaged} lines are none.")
    return _by_key(captions)


def _by_key(captions: Iterable[Caption]) -> dict[Key, str]:
    """The first answer to a question stands."""
    found: dict[Key, str] = {}
    for caption in captions:
        found.setdefault(caption.key, caption.answer)
    return found


def _parts(positions: Sequence[int]) -> list[Sequence[int]]:
    return [positions[i : i + AT_ONCE] for i in range(0, len(positions), AT_ONCE)]
