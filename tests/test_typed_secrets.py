"""Passwords and keys are refused before anything is written, and never shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neglab.compose import compose
from neglab.config_files import configs_folder
from neglab.typed_secrets import check_secrets
from neglab.types import UserError

SECRET = "hunter2hunter2hunter2"
HOLDING = [
    f"https://user:{SECRET}@host/v1",
    f"http://{SECRET}@host",
    f"https://host/v1?api_key={SECRET}",
    f"https://host/v1?a=1&access_token={SECRET}",
    f"https://host/v1?X-Amz-Signature={SECRET}",
    f"sk-{SECRET}",
    f"hf_{SECRET}",
]


@pytest.mark.parametrize("value", HOLDING)
@pytest.mark.parametrize("key", ["llm_filter.base_url", "corpus.chat.base_url", "logger.project", "id_dataset.root"])
def test_a_secret_is_refused_and_not_shown(key, value):
    node = value
    for name in reversed(key.split(".")):
        node = {name: node}
    for settings in (node, {"hydra": {"overrides": {"task": [f"{key}={value}"]}}}):
        with pytest.raises(UserError, match="must come from the environment") as caught:
            check_secrets(settings)
        assert key in str(caught.value) and SECRET not in str(caught.value) and "OPENAI_API_KEY" in str(caught.value)


@pytest.mark.parametrize("name", ["api_key", "password", "token", "logger.api_key", "+llm_filter.secret"])
def test_a_key_by_that_name_is_none_of_ours(name):
    with pytest.raises(UserError, match="must come from the environment"):
        check_secrets({"hydra": {"overrides": {"task": [f"{name}=abc"]}}})


@given(st.text(st.characters(codec="ascii"), max_size=20), st.sampled_from(["user", "user:pw", "a%40b:c"]))
def test_user_info_is_found_wherever_it_stands(around, user):
    with pytest.raises(UserError):
        check_secrets({"a": [{"b": f"{around} https://{user}@host {around}"}]})


@pytest.mark.parametrize(
    "value",
    [
        "http://localhost:8000/v1", "https://api.openai.com/v1", "a photo of a {}.", "OPENAI_API_KEY", "token", "",
        "user@host:/data", "Qwen/Qwen2.5-14B-Instruct-1M", "local-dir:/a@b/c", "https://host/a?page=2", None, 3,
    ],
)  # fmt: skip
def test_what_is_no_secret_passes(value):
    check_secrets({"llm_filter": {"base_url": value, "api_key_variable": "OPENAI_API_KEY", "max_tokens": 8}})


def test_no_shipped_config_is_taken_for_one():
    for path in (configs_folder() / "llm_filter").glob("*.yaml"):
        compose([f"llm_filter={path.stem}"])


def test_from_python():
    with pytest.raises(UserError, match=r"llm_filter\.base_url holds"):
        compose(["llm_filter=openai_api", f"llm_filter.base_url='https://a:{SECRET}@host'"])


@pytest.mark.parametrize("sweep", [(), ("-m",)])
def test_nothing_is_written(neglab, tmp_path, sweep):
    url = f"https://user:{SECRET}@host/v1"
    finished = neglab(*sweep, "llm_filter=openai_api", "llm_filter.model=m", f"llm_filter.base_url={url}", "seed=0")
    assert finished.returncode == 1 and "Traceback" not in finished.stderr
    assert "must come from the environment" in finished.stderr
    assert SECRET not in finished.stdout + finished.stderr
    assert not list(tmp_path.iterdir())
