import json
from types import SimpleNamespace

import pytest
from picture_chats import SeeingChat
from PIL import Image

from neglab.chat.captions import Captioner, parse_captions, picture_digest, picture_message
from neglab.chat.openai_api import OpenAIChat
from neglab.chat.replies import Reply
from neglab.types import UserError

RED, BLUE = (Image.new("RGB", (4, 3), colour) for colour in ("red", "blue"))


def says(question, picture):
    return f"{question} {picture.getpixel((0, 0))}"


def captioner(tmp_path, chat=None, recorded=None, max_flawed=0.05):
    return Captioner(chat, recorded, max_flawed, str(tmp_path))


def test_a_question_about_a_picture_is_asked_once(tmp_path):
    chat = SeeingChat(says)
    ask = captioner(tmp_path, chat)
    expected = ["what? (255, 0, 0)", "what? (0, 0, 255)", "what? (255, 0, 0)"]
    assert ask([RED, BLUE, RED], ["what?"] * 3, 10) == expected
    assert len(chat.asked) == 2
    assert captioner(tmp_path, silent := SeeingChat(says))([RED.copy(), BLUE, RED], ["what?"] * 3, 10) == expected
    assert not silent.asked
    ask([RED], ["what else?"], 10), ask([RED], ["what?"], 20)
    assert len(chat.asked) == 4
    assert captioner(tmp_path, other := SeeingChat(says, "another"))([RED], ["what?"], 10) and len(other.asked) == 1


def test_recorded_answers_need_no_model(tmp_path):
    captioner(tmp_path, SeeingChat(says))([RED, BLUE], ["what?"] * 2, 10)
    (path,) = tmp_path.glob("answers/pictures-*.jsonl")
    replay = captioner(tmp_path / "elsewhere", recorded=str(path))
    assert replay([BLUE, RED], ["what?"] * 2, 10) == ["what? (0, 0, 255)", "what? (255, 0, 0)"]
    with pytest.raises(UserError, match="1 of 2 pictures have no recorded answer to 'what else"):
        replay([BLUE, RED], ["what?", "what else?"], 10)
    both = captioner(tmp_path / "elsewhere", chat := SeeingChat(says), str(path))
    assert both([RED], ["what else?"], 10) == ["what else? (255, 0, 0)"] and len(chat.asked) == 1


def test_what_was_answered_before_a_failure_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("neglab.chat.captions.AT_ONCE", 2)
    pictures = [Image.new("RGB", (1, 1), (i, 0, 0)) for i in range(6)]

    def fails_late(question, picture):
        if picture.getpixel((0, 0))[0] == 4:
            raise UserError("the server is gone")
        return says(question, picture)

    with pytest.raises(UserError, match="the server is gone"):
        captioner(tmp_path, SeeingChat(fails_late))(pictures, ["what?"] * 6, 10)
    (path,) = tmp_path.glob("answers/pictures-*.jsonl")
    with path.open("a") as file:
        file.write('{"picture": "cut in the mid')  # by a kill
    chat = SeeingChat(says)
    assert captioner(tmp_path, chat)(pictures, ["what?"] * 6, 10)[5] == "what? (5, 0, 0)"
    assert len(chat.asked) == 2
    captions, num_damaged = parse_captions(path.read_bytes())
    assert (len(captions), num_damaged) == (6, 1)


def test_empty_answers_are_not_stored_and_too_many_stop_the_run(tmp_path):
    pictures = [Image.new("RGB", (1, 1), (i, 0, 0)) for i in range(30)]
    some = SeeingChat(lambda question, picture: "" if picture.getpixel((0, 0))[0] == 7 else "a thing")
    assert captioner(tmp_path, some)(pictures, ["what?"] * 30, 10).count("") == 1
    captioner(tmp_path, again := SeeingChat(lambda *_: "a thing"))(pictures, ["what?"] * 30, 10)
    assert len(again.asked) == 1
    with pytest.raises(UserError, match="must say what it sees; 30 of 30 answers are empty"):
        captioner(tmp_path, SeeingChat(lambda *_: "", "blind"))(pictures, ["what?"] * 30, 10)


def test_an_answer_cut_at_the_limit_counts(tmp_path):
    chat = SeeingChat(says)
    chat.complete = lambda conversations, _: [Reply.of("a small red", cut=True) for _ in conversations]
    assert captioner(tmp_path, chat)([RED], ["what?"], 3) == ["a small red"]


def test_the_digest_is_that_of_the_pixels():
    assert picture_digest(RED) == picture_digest(RED.copy())
    others = [BLUE, RED.resize((3, 4)), RED.convert("L"), RED.convert("RGBA")]
    assert len({picture_digest(picture) for picture in (RED, *others)}) == 5


def test_a_server_is_sent_the_picture_as_a_data_url(monkeypatch):
    sent = []

    def create(**request):
        sent.append(json.loads(json.dumps(request)))
        choice = SimpleNamespace(message=SimpleNamespace(content="red"), finish_reason="stop")
        return SimpleNamespace(choices=[choice])

    client = SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=create)), close=lambda: None)
    monkeypatch.setattr(OpenAIChat, "_client", lambda self: client)
    chat = OpenAIChat("http://localhost:1/v1", "qwen", 1, 0, 5, 0, 9, "max_tokens", None, {}, "NO_KEY", "")
    assert chat.complete([[picture_message("what?", RED)]], 10) == [Reply("red")]
    ((message,), limit) = sent[0]["messages"], sent[0]["max_tokens"]
    assert (message["role"], limit) == ("user", 10)
    assert message["content"][1] == {"type": "text", "text": "what?"}
    assert message["content"][0]["image_url"]["url"].startswith("data:image/png;base64,iVBOR")


def test_mistakes(tmp_path):
    with pytest.raises(UserError, match="got neither of the two"):
        captioner(tmp_path)
    blind = SeeingChat(says)
    blind.sees_pictures = False
    with pytest.raises(UserError, match="must see pictures; oracle is asked"):
        captioner(tmp_path, blind)
    with pytest.raises(UserError, match="cannot be read"):
        captioner(tmp_path, recorded=str(tmp_path / "mistyped.jsonl"))
    (tmp_path / "text.jsonl").write_text("a text\n")
    with pytest.raises(UserError, match="1 lines are none"):
        captioner(tmp_path, recorded=str(tmp_path / "text.jsonl"))
