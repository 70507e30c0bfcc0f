"""What a language model has said: without its thoughts, whether it is whole, and whether it says yes or no."""

import re
from dataclasses import dataclass
from typing import Any, Literal

# How models that think first mark their thoughts in the text; the last of each pair is gpt-oss's, with its special
# tokens and without. Where a chat template has begun the thoughts, the reply holds their end alone.
TAGS = "think|thinking|thought|reasoning|reflection"
THOUGHTS_BEGIN = re.compile(
    rf"<(?:{TAGS})>|\[THINK\]|◁think▷|<\|channel\|>(?:analysis|commentary)|\Aanalysis(?=[A-Z])", re.IGNORECASE
)
THOUGHTS_END = re.compile(
    rf"</(?:{TAGS})>|\[/THINK\]|◁/think▷|<\|channel\|>final<\|message\|>|assistantfinal", re.IGNORECASE
)
THOUGHTS = re.compile(f"(?:{THOUGHTS_BEGIN.pattern}).*?(?:{THOUGHTS_END.pattern})", re.IGNORECASE | re.DOTALL)

# "Yes", "**Yes**", '"Yes."', "Answer: Yes", '{"answer": "Yes"}', "The answer is: Yes", "\boxed{Yes}"; not "Yes or no".
VERDICT = re.compile(
    r"[\W_]*(?:json[\W_]+)?(?:(?:final |my |the )?(?:answer|response|verdict|result|boxed)[\W_]+(?:is[\W_]+)?)?"
    r"(?:(?P<yes>yes|true)|no|not|nope|false)(?![^\W_])(?!\s*(?:/|or\b)\s*(?:yes|no|true|false)\b)",
    re.IGNORECASE,
)
UNMARKED_REST = re.compile(r"[\W_]*\Z")

Verdict = Literal["yes", "no", "unclear"]


@dataclass(frozen=True)
class Reply:
    """A language model's message.

    Attributes:
        text: what it says, without its thoughts.
        flaw: why it is not whole: "empty", "cut at the token limit" or "refused"; "" where it is.
    """

    text: str
    flaw: str = ""

    @classmethod
    def of(cls, content: Any, cut: bool = False, refused: bool = False) -> "Reply":
        """The reply with this content.

        Args:
            content: text, None, or a list of parts as some servers send them, of which those of text count.
            cut: the model stopped at the limit of tokens.
            refused: the model or its server declined to answer.
        """
        whole = _joined(content).encode(errors="replace").decode()  # half a surrogate pair is no text for a file
        text = without_thoughts(whole)
        flaw = "refused" if refused else "cut at the token limit" if cut else "" if text else "empty"
        return cls(text, flaw)

    @property
    def is_answer(self) -> bool:
        """Whether it can stand as the answer to a yes-no question: it is whole, or was cut behind its yes or no."""
        return not self.flaw or (self.flaw != "refused" and verdict(self.text) != "unclear")

    def __str__(self) -> str:
        return f"[{self.flaw}] {self.text}".strip() if self.flaw else self.text


def without_thoughts(text: str) -> str:
    """What a model says after, or before, it has thought; of thoughts that do not end, nothing."""
    text = THOUGHTS_END.split(THOUGHTS.sub("", text))[-1]
    return THOUGHTS_BEGIN.split(text)[0].strip()


def verdict(answer: str) -> Verdict:
    """What an answer says by how it begins, or else by its last line if that says nothing more."""
    if found := VERDICT.match(answer):
        return "yes" if found["yes"] else "no"
    last = answer.strip().rpartition("\n")[2]
    if (found := VERDICT.match(last)) and UNMARKED_REST.match(last, found.end()):
        return "yes" if found["yes"] else "no"
    return "unclear"


def too_many(num_bad: int, num_all: int, share: float) -> bool:
    """Whether more than this share is bad. One or two among many are an accident, in however small a run."""
    return num_bad > max(share * num_all, min(2, num_all / 2))


def _joined(content: Any) -> str:
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") != "thinking"]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""
