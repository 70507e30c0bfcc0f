import pytest

from neglab.chat.replies import Reply, too_many, verdict, without_thoughts


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("<think>a</think>\n\nNo", "No"),
        ("<THINK>a <think>b</think></think>No", "No"),
        ("a, so Yes</think>No", "No"),
        ("<think>a, so Yes", ""),
        ("No\n<think>or not</think>", "No"),
        ("[THINK]a[/THINK]Yes", "Yes"),
        ("<reasoning>a</reasoning><answer>", "<answer>"),
        ("<|channel|>analysis<|message|>a Yes<|end|><|start|>assistant<|channel|>final<|message|>No", "No"),
        ("<|channel|>analysis<|message|>a Yes", ""),
        ("analysisWe ask: Yes?assistantfinalNo", "No"),
        ("I think so", "I think so"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
    ],
)
def test_thoughts_are_no_part_of_a_reply(said, expected):
    assert without_thoughts(said) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes", "yes"),
        ("**Yes**", "yes"),
        ('"Yes."', "yes"),
        ("Answer: Yes", "yes"),
        ("**Final answer:** no.", "no"),
        ("The answer is: **No**", "no"),
        ('{"answer": "Yes"}', "yes"),
        ('```json\n{"answer": false}\n```', "no"),
        (r"$\boxed{Yes}$", "yes"),
        ("_No_", "no"),
        ("Yes, no doubt", "yes"),
        ("No. Yes would be wrong", "no"),
        ("A holm oak is a tree.\nAll oaks are.\n\nAnswer: **Yes**", "yes"),
        ("A holm oak is a tree.\nYes and no, it depends", "unclear"),
        ("Yes or No?", "unclear"),
        ("Yes/No", "unclear"),
        ("Norway", "unclear"),
        ("Nothing", "unclear"),
        ("Yesterday", "unclear"),
        ("Oui", "unclear"),
        ("Non", "unclear"),
        ("Ja", "unclear"),
        ("是", "unclear"),
        ("n/a", "unclear"),
        ("", "unclear"),
    ],
)
def test_verdicts(text, expected):
    assert verdict(text) == expected


def test_content_in_parts():
    parts = [{"type": "thinking", "thinking": "Yes?"}, {"type": "text", "text": "No"}, {"type": "text", "text": "."}]
    assert Reply.of(parts) == Reply("No.")
    assert Reply.of(None) == Reply.of("  ") == Reply.of([]) == Reply("", "empty")
    assert str(Reply.of("half a", cut=True)) == "[cut at the token limit] half a"


def test_what_is_too_many():
    assert not too_many(0, 0, 0.05)
    assert too_many(1, 1, 0.05) and not too_many(1, 2, 0.05) and too_many(2, 2, 0.05)
    assert not too_many(2, 6, 0.05) and too_many(3, 6, 0.05)
    assert not too_many(5, 100, 0.05) and too_many(6, 100, 0.05)
