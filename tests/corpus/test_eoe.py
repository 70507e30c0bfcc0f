import json

import pytest

from neglab.chat.base import Chat
from neglab.chat.recorded import RecordedChat
from neglab.chat.replies import Reply
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
        found = [self.replies.pop(0) for _ in conversations]
        return [reply if isinstance(reply, Reply) else Reply.of(reply) for reply in found]


def corpus(chat, store, **changes):
    knobs = {
        "kind": "far", "num_labels": 4, "labels_per_reply": 2, "num_per_class": 3, "domain": None, "max_new_tokens": 9,
        "max_flawed": 0.05,
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
    with pytest.raises(UserError, match="beginning with '- '"):
        corpus(ScriptedChat("I cannot do that.", "Sorry."), tmp_path).words(NAMES)


CUT = Reply("- d\n- half a wo", "cut at the token limit")


def test_thoughts_are_no_labels_and_too_few_are_said(tmp_path, caplog):
    chat = ScriptedChat("<think>- no label</think>- a b\n- c", "- d")
    assert corpus(chat, tmp_path).words(NAMES).names == ("a b", "c", "d")
    assert "asked for 4 labels and has listed 3" in caplog.text


@pytest.mark.parametrize("flawed", [CUT, "", Reply("Sorry.", "refused")])
def test_a_reply_that_is_not_whole_is_not_stored(tmp_path, flawed):
    with pytest.raises(UserError, match=r"1 of 1 replies are not whole: 1 .*corpus.max_new_tokens, now 9"):
        corpus(ScriptedChat("- a b\n- c", flawed), tmp_path).words(NAMES)
    chat = ScriptedChat("- d\n- e")  # the first reply is kept
    assert corpus(chat, tmp_path).words(NAMES).names == ("a b", "c", "d", "e")


def test_few_refusals_among_many_classes_are_borne_but_no_cut_list(tmp_path, caplog):
    names = [f"class {chr(97 + i)}" for i in range(10)]
    replies = [f"- thing{chr(97 + i)}" for i in range(10)]
    with pytest.raises(UserError, match="2 of 10 replies are not whole: 1 refused, 1 cut at the token limit"):
        corpus(ScriptedChat(Reply("", "refused"), *replies[1:9], CUT), tmp_path, kind="near").words(names)
    words = corpus(ScriptedChat(Reply("", "refused"), replies[9]), tmp_path, kind="near").words(names)
    assert words.names == tuple(reply[2:] for reply in replies[1:])
    assert "1 of 10 replies are not whole: 1 refused; their labels are missing" in caplog.text
    with pytest.raises(UserError, match="3 of 10"):
        corpus(ScriptedChat("", "", "", *replies[3:]), tmp_path / "other", kind="near").words(names)


def test_an_empty_reply_of_an_older_store_is_asked_for_again(tmp_path):
    corpus(ScriptedChat("- a", "- b"), tmp_path).words(NAMES)
    for path in (tmp_path / "answers").iterdir():
        path.write_text(json.dumps({"messages": [], "reply": "<think>- cut"}))
    assert corpus(ScriptedChat("- c", "- d"), tmp_path).words(NAMES).names == ("c", "d")


def test_a_damaged_reply_of_the_store_is_asked_for_again(tmp_path, caplog):
    corpus(ScriptedChat("- a", "- b"), tmp_path).words(NAMES)
    for path in (tmp_path / "answers").iterdir():
        path.write_text('{"reply": 3}')
    assert corpus(ScriptedChat("- c", "- d"), tmp_path).words(NAMES).names == ("c", "d")
    assert "is damaged" in caplog.text


def test_lists_as_models_write_them():
    text = '1. Five\n2) **Six**: it looks like one\n• "seven"\n+ Eight.\n---\n'
    text += "**Animals:**\n3. Plants:\n- **Trees:**\n10.5 apples"
    assert listed([text]) == ["five", "six", "seven", "eight"]


def test_only_list_lines_are_labels():
    assert listed(["Here:\n- One thing\n* two\n-three\n- four  "]) == ["one thing", "two", "three", "four"]


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
