"""Outlier classes that a language model imagines from the ID class names alone."""

import json
import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from neglab.chat.base import Chat, Message
from neglab.chat.recorded import Recorded
from neglab.chat.replies import Reply, too_many, without_thoughts
from neglab.corpus.base import Corpus
from neglab.files import DamagedError, digest, read_json, write_atomically
from neglab.ranges import Count, Share
from neglab.types import UserError, Words

logger = logging.getLogger(__name__)

KINDS = ("far", "near", "fine_grained")
ITEM = re.compile(r"\s*(?:[-•–]|[*+](?=\s)|\d+[.)](?!\d))\s*(.*)")  # of a list; 10.5 is a number
MARKS = " \t*_`\"'“”‘’.,;-–"
FAR_EXAMPLE = (
    ("husky dog, garfield cat, churches, truck", "black stone, mountain, ginkgo tree, river, rapeseed field"),
)
NEAR_EXAMPLES = (
    ("husky dog", "gray wolf, black stone, red panda"),
    ("basketball", "balloon, orange, globe"),
    ("water jug", "trophy, flower vase, fire extinguisher"),
)
FINE_GRAINED_EXAMPLE = (
    "husky, alaskan malamute, cossack sled dog",
    "golden retriever, french bulldog, chihuahua, beagle, poodle, rottweiler, dachshund, great dane, pug, boxer",
)


class EOECorpus(Corpus):
    """What a language model names when it is told the ID classes and asked for what looks like them and is not.

    Args:
        chat: the model that is asked.
        kind: "far": what resembles the broad visual categories; "near": what resembles each class; "fine_grained":
            other members of the classes' family, `domain`.
        num_labels: L, labels asked for in all ("far", "fine_grained").
        labels_per_reply: asked for at once; the rest in follow-ups of the same conversation.
        num_per_class: labels asked for per ID class ("near").
        domain: what the classes are, such as "bird" ("fine_grained").
        max_new_tokens: longest reply, in tokens.
        max_flawed: share of the replies, 0 to 1, that may be empty or refused; they are not stored.
        store: folder of the store; a reply is asked for once.

    Raises:
        UserError: an unknown kind, a count below 1, no domain where one is needed, a reply that was cut, too many that
            are empty or refused, or replies without a list.

    Source: EOE (Cao et al., ICML 2024), official code at 20fa95e; the prompts say in our words what theirs say.
    Differs: labels keep the order of the replies; the official code joins replies without a line end, which fuses
        labels, and orders them by hash. The near filter on cosine, for one of their ID sets, is `duplicate_guard` here.
    """

    def __init__(
        self,
        chat: Chat,
        kind: str,
        num_labels: Count,
        labels_per_reply: Count,
        num_per_class: Count,
        domain: str | None,
        max_new_tokens: Count,
        max_flawed: Share,
        store: str,
    ) -> None:
        if kind not in KINDS:
            raise UserError(f"corpus.kind must be one of {', '.join(KINDS)}; got {kind!r}.")
        if kind == "fine_grained" and not domain:
            raise UserError("corpus.kind=fine_grained needs what the classes are, such as corpus.domain=bird.")
        self.chat, self.kind, self.domain = chat, kind, domain
        self.num_labels, self.labels_per_reply, self.num_per_class = num_labels, labels_per_reply, num_per_class
        self.max_new_tokens, self.max_flawed = max_new_tokens, max_flawed
        self.folder = Path(store).expanduser() / "answers"

    def words(self, id_names: Sequence[str]) -> Words:
        replies = self._near_replies(id_names) if self.kind == "near" else self._long_conversation(id_names)
        known = {name.lower() for name in id_names}
        named = listed(replies)
        wanted = self.num_per_class * len(id_names) if self.kind == "near" else self.num_labels
        if len(named) < wanted:
            logger.warning("The language model was asked for %d labels and has listed %d", wanted, len(named))
        labels = [label for label in dict.fromkeys(named) if label not in known]
        if self.kind == "near":
            taken = {word for name in id_names for word in name.split()}
            labels = [label for label in labels if taken.isdisjoint(label.split())]
        if not labels:
            raise UserError(
                "The language model must answer with a list, its lines beginning with '- '; no such label is left of "
                f"{len(replies)} replies, the first begins {''.join(replies[:1])[:60]!r}. Try another model."
            )
        return Words.nouns(labels)

    def _long_conversation(self, id_names: Sequence[str]) -> list[str]:
        """One conversation, continued until it has been asked for all labels."""
        messages: list[Message] = list(self._opening(id_names))
        replies: list[str] = []
        for start in range(0, self.num_labels, self.labels_per_reply):
            if replies:
                count = min(self.labels_per_reply, self.num_labels - start)
                more = f"Give {count} more, none of more than three words and none given before, in the same form."
                messages += [_says("assistant", replies[-1]), _says("user", more)]
            replies += self._complete([messages])
        return replies

    def _near_replies(self, id_names: Sequence[str]) -> list[str]:
        """One short conversation per ID class."""
        examples = [part for name, labels in NEAR_EXAMPLES for part in self._near_turn(name, labels)]
        return self._complete([[*examples, self._near_turn(name, "")[0]] for name in id_names])

    def _near_turn(self, name: str, labels: str) -> tuple[Message, Message]:
        question = (
            f"An image classifier knows the class {name!r}. Name {self.num_per_class} classes that look like it but "
            "are not directly related to it, do not belong to its main group, and come from other domains. "
            "One per line, each line beginning with '- '."
        )
        return _says("user", question), _says("assistant", as_list(labels))

    def _opening(self, id_names: Sequence[str]) -> list[Message]:
        count = min(self.labels_per_reply, self.num_labels)
        if self.kind == "fine_grained":
            question = (
                "I have images of these kinds of {domain}: {names}. Name {count} other kinds of {domain} that are not "
                "among them. One per line, each line beginning with '- '."
            )
            names, labels = FINE_GRAINED_EXAMPLE
            example = question.format(domain="dog", names=names, count=10)
            asked = question.format(domain=self.domain, names=", ".join(id_names), count=count)
        else:
            question = (
                "I have images of {classes} categories: {names}. Sum them up in broad categories by what they look "
                "like, then name {count} classes that resemble those broad categories to the eye and have no direct "
                "relation to them. Answer with the names alone, one per line, each line beginning with '- '."
            )
            ((names, labels),) = FAR_EXAMPLE
            example = question.format(classes=4, names=names, count=5)
            asked = question.format(classes=len(id_names), names=", ".join(id_names), count=count)
        return [_says("user", example), _says("assistant", as_list(labels)), _says("user", asked)]

    def _complete(self, conversations: Sequence[Sequence[Message]]) -> list[str]:
        """The whole replies; those that the store lacks are asked for together."""
        paths = [self._path(conversation) for conversation in conversations]
        missing = [i for i, path in enumerate(paths) if not _stored(path)]
        if missing:
            self.folder.mkdir(parents=True, exist_ok=True)
            replies = self.chat.complete([conversations[i] for i in missing], self.max_new_tokens)
            for i, reply in zip(missing, replies, strict=True):
                if not reply.flaw:
                    found = Recorded(list(map(dict, conversations[i])), reply.text)
                    write_atomically(paths[i], json.dumps(asdict(found), indent=1, ensure_ascii=False).encode())
            self._check([reply for reply in replies if reply.flaw], len(conversations))
        return list(filter(None, map(_stored, paths)))

    def _check(self, flawed: Sequence[Reply], num_replies: int) -> None:
        """Raise a UserError where a list would be cut, or too many are missing."""
        if not flawed:
            return
        flaws = Counter(reply.flaw for reply in flawed)
        found = f"{len(flawed)} of {num_replies} replies are not whole: " + ", ".join(
            f"{count} {flaw}" for flaw, count in flaws.items()
        )
        if any("cut" in flaw for flaw in flaws) or too_many(len(flawed), num_replies, self.max_flawed):
            raise UserError(
                f"The language model must answer with whole lists; {found}. One begins {flawed[0].text[:60]!r}. Cut "
                f"lists need a larger corpus.max_new_tokens, now {self.max_new_tokens} with the thoughts of a model "
                "that thinks first; else try another model. Whole replies are kept."
            )
        logger.warning("%s; their labels are missing", found)

    def _path(self, conversation: Sequence[Message]) -> Path:
        key = digest([self.chat.identity, self.max_new_tokens, list(conversation)])
        return self.folder / f"conversation-{key}.json"


def _stored(path: Path) -> str:
    """The reply in a file of the store; "" where there is none, as older stores may say too."""
    try:
        return without_thoughts(read_json(path, Recorded).reply)
    except FileNotFoundError:
        return ""
    except DamagedError as error:
        logger.warning("%s is damaged (%s); the language model is asked again", path, error)
        return ""


def listed(replies: Sequence[str]) -> list[str]:
    """The labels of all replies, in lower case: of lines that begin with "- ", as they should, or with "* " or "1. ".

    Marks around a label and a remark behind its colon are left out; a line that ends with a colon is a heading.
    """
    items = [ITEM.match(line) for reply in replies for line in reply.splitlines()]
    texts = [item[1].strip(MARKS) for item in items if item]
    labels = [re.split(r":\W*\s", text)[0].strip(MARKS).lower() for text in texts if not text.endswith(":")]
    return [label for label in labels if any(map(str.isalpha, label))]


def as_list(labels: str) -> str:
    """Labels between commas as the list that a reply should be."""
    return "\n".join(f"- {label}" for label in labels.split(", "))


def _says(role: str, content: str) -> Message:
    return {"role": role, "content": content}
