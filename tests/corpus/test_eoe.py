import json

import pytest

from neglab.chat.base import Chat
from neglab.chat.recorded import RecordedChat
from neglab.corpus.eoe import EOECorpus, listed
from neglab.types import UserError

NAMES = ("Siberian husky", "tabby cat")


class ScriptedChat(Chat):
    """Gives its replies in turn and remembers the conversations."""

    identity = {"model": "scripted", "revision": None}

    def __init__(self, *replies):
        self.replies, self.conversations = list(replies), []

    def ask(self, questions):
        raise AssertionError("EOE asks no yes-no question")

    def complete(self, conversations, max_new_tokens):
        self.conversations += [[dict(message) for message in conversation] for conversation in conversations]
        return [self.replies.pop(0) for _ in conversations]


def corpus(chat, store, **changes):
    knobs = {
        "kind": "far", "num_labels": 4, "labels_per_reply": 2, "num_per_class": 3, "domain": None, "max_new_tokens": 9,
    }  # fmt: skip
    return EOECorpus(chat, **{**knobs, **changes}, store=str(store))


def test_far_labels_come_in_one_conversation_in_the_order_of_the_replies(tmp_path):
    chat = ScriptedChat("Sure:\n- Black Stone\n- river", "- mountain\n- river\n - Tabby Cat\n- ")
    words = corpus(chat, tmp_path).words(NAMES)
    assert words.names == ("black stone", "river", "mountain")  # no name twice, no ID name, no fused lines
    assert set(words.parts_of_speech) == {"noun"}
    first, second = chat.conversations
    assert "Siberian husky, tabby cat" in first[-1]["content"] and "name 2 classes" in first[-1]["content"]
    assert second[: len(first)] == first
    assert [message["role"] for message in second[len(first) :]] == ["assistant", "user"]
    assert "2 more" in second[-1]["content"]


def test_a_reply_is_asked_for_once(tmp_path):
    chat = ScriptedChat("- a b\n- c", "- d")
    first = corpus(chat, tmp_path).words(NAMES)
    assert corpus(ScriptedChat(), tmp_path).words(NAMES) == first


def test_near_labels_share_no_word_with_an_id_name(tmp_path):
    chat = ScriptedChat("- wolf\n- husky voice\n- snow fox", "- tabby cloth\n- cushion\n- cat food")
    words = corpus(chat, tmp_path, kind="near").words(NAMES)
    assert words.names == ("wolf", "snow fox", "cushion")
    assert [conversation[-1]["content"].count("'Siberian husky'") for conversation in chat.conversations] == [1, 0]


def test_fine_grained_asks_for_others_of_the_domain(tmp_path):
    chat = ScriptedChat("- beagle", "- pug")
    assert corpus(chat, tmp_path, kind="fine_grained", domain="dog").words(NAMES).names == ("beagle", "pug")
    assert "kinds of dog" in chat.conversations[0][-1]["content"]


@pytest.mark.parametrize("changes", [{"kind": "other"}, {"kind": "fine_grained"}])
def test_mistakes(changes, tmp_path):
    with pytest.raises(UserError, match="corpus\\."):
        corpus(ScriptedChat(), tmp_path, **changes)


def test_garbage_is_an_error(tmp_path):
    with pytest.raises(UserError, match="begin with '- '"):
        corpus(ScriptedChat("I cannot do that.", "Sorry."), tmp_path).words(NAMES)


def test_only_list_lines_are_labels():
    assert listed(["Here:\n- One thing\n* two\n-three\n- four  "]) == ["one thing", "four"]


def test_recorded_replies_are_for_their_conversation_alone(tmp_path):
    chat, path = ScriptedChat("- a", "- b"), tmp_path / "replies.json"
    corpus(chat, tmp_path / "first").words(NAMES)
    rows = [{"messages": m, "reply": r} for m, r in zip(chat.conversations, ("- a", "- b"), strict=True)]
    path.write_text(json.dumps(rows))
    recorded = RecordedChat(str(path), "scripted")
    assert corpus(recorded, tmp_path / "second").words(NAMES).names == ("a", "b")
    with pytest.raises(UserError, match="corpus=eoe_openai_api"):
        corpus(recorded, tmp_path / "third").words(("other", "classes"))
    path.write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        corpus(recorded, tmp_path / "fourth").words(NAMES)
