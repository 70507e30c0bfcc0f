"""Outlier classes that a language model imagines from the ID class names alone."""

import json
from collections.abc import Sequence
from pathlib import Path

from neglab.chat.base import Chat, Message
from neglab.corpus.base import Corpus
from neglab.ranges import Count
from neglab.store import digest, write_atomically
from neglab.types import UserError, Words

KINDS = ("far", "near", "fine_grained")
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
        store: folder of the store; a reply is asked for once.

    Raises:
        UserError: an unknown kind, a count below 1, no domain where one is needed, or replies without a list.

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
        store: str,
    ) -> None:
        if kind not in KINDS:
            raise UserError(f"corpus.kind must be one of {', '.join(KINDS)}; got {kind!r}.")
        if kind == "fine_grained" and not domain:
            raise UserError("corpus.kind=fine_grained needs what the classes are, such as corpus.domain=bird.")
        self.chat, self.kind, self.domain = chat, kind, domain
        self.num_labels, self.labels_per_reply, self.num_per_class = num_labels, labels_per_reply, num_per_class
        self.max_new_tokens, self.folder = max_new_tokens, Path(store).expanduser() / "answers"

    def words(self, id_names: Sequence[str]) -> Words:
        replies = self._near_replies(id_names) if self.kind == "near" else self._long_conversation(id_names)
        known = {name.lower() for name in id_names}
        labels = [label for label in dict.fromkeys(listed(replies)) if label not in known]
        if self.kind == "near":
            taken = {word for name in id_names for word in name.split()}
            labels = [label for label in labels if taken.isdisjoint(label.split())]
        if not labels:
            raise UserError(
                "The language model must answer with lines that begin with '- '; no such label is left of "
                f"{len(replies)} replies, the first begins {replies[0][:60]!r}. Try another model."
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
        """The replies; those that the store lacks are asked for together."""
        paths = [self._path(conversation) for conversation in conversations]
        missing = [i for i, path in enumerate(paths) if not path.is_file()]
        if missing:
            self.folder.mkdir(parents=True, exist_ok=True)
            replies = self.chat.complete([conversations[i] for i in missing], self.max_new_tokens)
            for i, reply in zip(missing, replies, strict=True):
                content = {"messages": list(conversations[i]), "reply": reply}
                write_atomically(paths[i], json.dumps(content, indent=1, ensure_ascii=False).encode())
        return [json.loads(path.read_text())["reply"] for path in paths]

    def _path(self, conversation: Sequence[Message]) -> Path:
        key = digest([self.chat.identity, self.max_new_tokens, list(conversation)])
        return self.folder / f"conversation-{key}.json"


def listed(replies: Sequence[str]) -> list[str]:
    """The labels of all replies: lines that begin with "- ", in lower case."""
    lines = [line.strip() for reply in replies for line in reply.splitlines()]
    labels = [line[2:].strip().lower() for line in lines if line.startswith("- ")]
    return [label for label in labels if label]


def as_list(labels: str) -> str:
    """Labels between commas as the list that a reply should be."""
    return "\n".join(f"- {label}" for label in labels.split(", "))


def _says(role: str, content: str) -> Message:
    return {"role": role, "content": content}
