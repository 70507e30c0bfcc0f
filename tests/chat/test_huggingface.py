"""The real road through transformers, on tiny models; the tolerance of logits is 1e-5."""

import importlib.util
import json
import shutil

import pytest
import torch
from chat import tiny_chat

from neglab.chat.base import question_messages
from neglab.chat.huggingface import HuggingFaceChat, folder_digest
from neglab.chat.replies import Reply
from neglab.types import UserError

QUESTIONS = ["Is it so?", "And what about this longer one, which says more?", "zork", "No?", "Is a cat a dog?", "Hm"]


@pytest.fixture(scope="module")
def random_folder(tmp_path_factory):
    return tiny_chat.write_random(tmp_path_factory.mktemp("random"))


@pytest.fixture(scope="module")
def scripted_folder(tmp_path_factory):
    return tiny_chat.write_scripted(tmp_path_factory.mktemp("scripted"))


def chat(folder, **changed):
    return HuggingFaceChat(**tiny_chat.settings(folder, **changed), system_prompt="Say Yes or No.")


def plain_logits(talk, questions):
    """One question at a time through the whole model, without padding, cache or options."""
    rows = []
    for question in questions:
        messages = [{"role": "system", "content": talk.system_prompt}, {"role": "user", "content": question}]
        text = talk._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids = talk._tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids
        with torch.no_grad():
            rows.append(talk._network(ids).logits[0, -1])
    return torch.stack(rows)


def batched_logits(talk, questions):
    prompts = talk._prompts([question_messages(talk.system_prompt, text) for text in questions])
    found = {}
    for positions, logits in talk._next_token.logits(prompts):
        assert len(positions) <= talk.batch_size
        found |= dict(zip(positions, logits, strict=True))
    return torch.stack([found[i] for i in range(len(questions))])


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_the_shared_prefix_gives_the_plain_logits(random_folder, batch_size):
    talk = chat(random_folder, batch_size=batch_size)
    short = batched_logits(talk, QUESTIONS)
    assert talk._next_token.shares_prefix
    talk._next_token.shares_prefix = False
    whole = batched_logits(talk, QUESTIONS)
    expected = plain_logits(talk, QUESTIONS)
    assert expected.std() > 0.1  # or else nothing could be seen
    torch.testing.assert_close(short, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(whole, expected, atol=1e-5, rtol=1e-5)


def test_answers_are_the_likelier_word_whatever_the_batch(random_folder):
    talk = chat(random_folder)
    logits = plain_logits(talk, QUESTIONS)
    yes, no = talk._tokenizer.convert_tokens_to_ids(["Yes", "No"])
    expected = {i: Reply("Yes" if row[yes] > row[no] else "No") for i, row in enumerate(logits)}
    assert len(set(expected.values())) == 2
    assert dict(talk.ask(QUESTIONS)) == dict(chat(random_folder, batch_size=1).ask(QUESTIONS)) == expected
    assert dict(talk.ask(QUESTIONS[:1])) == {0: expected[0]}
    assert list(talk.ask([])) == []


def test_the_prefix_is_computed_once(random_folder):
    talk = chat(random_folder, batch_size=2)
    list(talk.ask(QUESTIONS))
    widths = []
    network = talk._network
    handle = network.register_forward_pre_hook(
        lambda module, arguments, named: widths.append(tuple(named["input_ids"].shape)), with_kwargs=True
    )
    list(talk.ask(QUESTIONS))
    handle.remove()
    (prefix, *batches) = widths
    longest = max(map(len, talk._prompts([question_messages(talk.system_prompt, text) for text in QUESTIONS])))
    assert prefix[0] == 1 and prefix[1] > 10
    assert [rows for rows, _ in batches] == [2, 2, 2]
    assert max(columns for _, columns in batches) == longest - prefix[1]


def test_a_cache_that_changes_the_logits_is_not_used(random_folder, monkeypatch):
    talk = chat(random_folder)
    original = type(talk._network).forward

    def forward(self, *arguments, past_key_values=None, **named):
        if past_key_values is not None:
            named["position_ids"] = named["position_ids"] + 7
        return original(self, *arguments, past_key_values=past_key_values, **named)

    expected = dict(chat(random_folder).ask(QUESTIONS))
    monkeypatch.setattr(type(talk._network), "forward", forward)
    assert dict(talk.ask(QUESTIONS)) == expected
    assert not talk._next_token.shares_prefix


@pytest.mark.parametrize("answer", ["logits", "generate"])
@pytest.mark.parametrize("batch_size", [1, 64])
def test_scripted_answers(scripted_folder, answer, batch_size):
    questions = ["Is there a zork here?", "Is there nothing?", "And a zork, in a longer question than the first?"]
    found = dict(chat(scripted_folder, answer=answer, batch_size=batch_size).ask(questions))
    assert found == {0: Reply("Yes"), 1: Reply("No"), 2: Reply("Yes")}


def test_sampled_answers_follow_their_seed_and_leave_the_global_state(random_folder):
    state = torch.random.get_rng_state()
    answers = [dict(chat(random_folder, answer="generate", seed=seed).ask(QUESTIONS)) for seed in (0, 0, 1)]
    assert answers[0] == answers[1] != answers[2]
    assert torch.equal(state, torch.random.get_rng_state())
    assert len(set(answers[0].values())) > 1


def test_greedy_text_does_not_depend_on_the_batch(random_folder, tmp_path):
    folder = tmp_path / "greedy"
    shutil.copytree(random_folder, folder)
    (folder / "generation_config.json").write_text('{"do_sample": false}')
    talks = [chat(folder, answer="generate", batch_size=size, max_new_tokens=6) for size in (1, 4, 64)]
    answers = [dict(talk.ask(QUESTIONS)) for talk in talks]
    assert answers[0] == answers[1] == answers[2]
    first = plain_logits(talks[0], QUESTIONS).argmax(dim=1)
    for i, token in enumerate(first.tolist()):
        assert answers[0][i].text.startswith(talks[0]._tokenizer.decode([token], skip_special_tokens=True))


def test_generated_answers_end_at_the_limit(random_folder):
    talk = chat(random_folder, answer="generate", max_new_tokens=2)
    passes = []
    handle = talk._network.register_forward_pre_hook(lambda module, arguments: passes.append(1))
    (answer,) = dict(talk.ask(QUESTIONS[:1])).values()
    handle.remove()
    assert len(passes) == 2 and answer.text and answer.flaw == "cut at the token limit"


def test_free_text_continues_each_conversation_in_order(scripted_folder):
    talk = chat(scripted_folder, batch_size=2)
    conversations = [
        [{"role": "user", "content": "zork"}],
        [
            {"role": "user", "content": "a much longer text than the one above"},
            {"role": "assistant", "content": "good"},
            {"role": "user", "content": "go on"},
        ],
        [{"role": "system", "content": "zork"}, {"role": "user", "content": "hello"}],
    ]
    assert talk.complete(conversations, max_new_tokens=3) == [Reply("Yes"), Reply("No"), Reply("Yes")]
    assert talk.complete([], max_new_tokens=3) == []


def test_a_template_that_refuses_a_system_role_gets_its_text_before_the_question(tmp_path):
    folder = tiny_chat.write_random(tmp_path, tiny_chat.NO_SYSTEM_TEMPLATE)
    talk = chat(folder)
    messages = [{"role": "system", "content": "Rule."}, {"role": "user", "content": "Question?"}]
    assert talk._render(messages) == "<|im_start|>user\nRule.\n\nQuestion?<|im_end|>\n<|im_start|>assistant\n"
    assert len(dict(talk.ask(QUESTIONS))) == len(QUESTIONS)


def test_the_prompt_is_the_templates(random_folder):
    talk = chat(random_folder)
    messages = [{"role": "system", "content": "Rule."}, {"role": "user", "content": "Question?"}]
    text = "<|im_start|>system\nRule.<|im_end|>\n<|im_start|>user\nQuestion?<|im_end|>\n<|im_start|>assistant\n"
    assert talk._render(messages) == text
    (ids,) = talk._prompts([messages])
    assert talk._tokenizer.decode(ids) == text


def test_identity_names_what_decides_an_answer_and_no_place(random_folder, tmp_path):
    first = chat(random_folder)
    moved = tmp_path / random_folder.split("/")[-1]
    shutil.copytree(random_folder, moved)
    assert chat(moved).identity == first.identity
    assert random_folder not in json.dumps(first.identity)
    assert chat(random_folder, batch_size=3, max_new_tokens=9, seed=4).identity == first.identity
    different = [
        chat(random_folder, dtype="bfloat16"),
        chat(random_folder, quantisation="4bit"),
        chat(random_folder, answer="generate"),
        chat(random_folder, answer="generate", seed=1),
        chat(random_folder, answer="generate", max_new_tokens=9),
        chat("owner/name"),
        chat("owner/name", revision="abc"),
        HuggingFaceChat(**tiny_chat.settings(random_folder), system_prompt="Another."),
    ]
    assert len({json.dumps(talk.identity, sort_keys=True) for talk in [first, *different]}) == 9
    generation = json.loads((moved / "generation_config.json").read_text())
    (moved / "generation_config.json").write_text(json.dumps({**generation, "temperature": 0.1}))
    assert chat(moved).identity != first.identity


def test_the_digest_of_a_large_file_sees_a_changed_block(tmp_path):
    content = bytearray(5 * 2**20)
    (tmp_path / "weights").write_bytes(content)
    before = folder_digest(tmp_path)
    (tmp_path / "weights").write_bytes(content[:-1] + b"x")
    assert folder_digest(tmp_path) != before


def test_nothing_is_loaded_before_the_first_question(tmp_path):
    talk = chat(tmp_path / "nowhere")
    assert talk.identity["revision"] == "main"
    with pytest.raises(UserError, match="could not be loaded"):
        list(talk.ask(["Is it?"]))


def test_mistakes_about_the_model(random_folder, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match=r"language model .*empty.* could not be loaded"):
        list(chat(empty).ask(["Is it?"]))
    bare = tmp_path / "bare"
    shutil.copytree(random_folder, bare)
    (bare / "model.safetensors").unlink()
    with pytest.raises(UserError, match="could not be loaded"):
        list(chat(bare).ask(["Is it?"]))
    untuned = tiny_chat.write_random(tmp_path / "untuned", template=None)
    with pytest.raises(UserError, match="has no chat template"):
        list(chat(untuned).ask(["Is it?"]))


def test_mistakes_about_arguments(random_folder):
    for name, value in (("dtype", "float8"), ("quantisation", "2bit"), ("answer", "guess"), ("batch_size", 0)):
        with pytest.raises(UserError, match=rf"language model's {name} must be"):
            chat(random_folder, **{name: value})


def test_missing_packages_are_named(random_folder, monkeypatch):
    found = importlib.util.find_spec
    absent = {"accelerate", "bitsandbytes"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in absent else found(name))
    with pytest.raises(UserError, match="pip install accelerate bitsandbytes"):
        list(chat(random_folder, quantisation="8bit").ask(["Is it?"]))
    with pytest.raises(UserError, match=r"pip install accelerate\..*device_map=null"):
        list(chat(random_folder, device_map="auto").ask(["Is it?"]))


def test_a_device_without_memory_says_what_to_lower(random_folder, monkeypatch):
    talk = chat(random_folder)
    list(talk.ask(QUESTIONS))

    def fail(prompts):
        raise torch.OutOfMemoryError("CUDA out of memory.\nAnd more.")

    monkeypatch.setattr(talk._next_token, "logits", fail)
    with pytest.raises(UserError, match=r"Lower its batch_size.*the same command"):
        list(talk.ask(QUESTIONS))


def test_a_tokenizer_that_cannot_tell_yes_from_no(random_folder, monkeypatch):
    talk = chat(random_folder)
    tokenizer = talk._tokenizer
    monkeypatch.setattr(
        type(tokenizer), "__call__", lambda self, text, **named: {"input_ids": [5] if text in ("Yes", "No") else [[5]]}
    )
    with pytest.raises(UserError, match=r"Set answer=generate"):
        list(talk.ask(["Is it?"]))
