import pytest

from neglab.logger.wandb import WandbRunLogger, mode_of_this_user
from neglab.types import UserError


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return tmp_path / "netrc"


def test_who_is_logged_in_is_online(monkeypatch, nobody):
    assert mode_of_this_user() == "offline"
    nobody.write_text("machine api.wandb.ai login user password secret\n")
    assert mode_of_this_user() == "online"
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert mode_of_this_user() == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert mode_of_this_user() == "online"


def test_a_broken_netrc_is_no_login(nobody):
    nobody.write_text("nonsense")
    assert mode_of_this_user() == "offline"


def test_an_unknown_mode():
    with pytest.raises(UserError, match=r"logger\.mode must be one of"):
        WandbRunLogger("neglab", None, "evaluate", None, [], ".", "sometimes")


def test_finishing_before_the_start_is_safe():
    WandbRunLogger("neglab", None, "evaluate", None, [], ".", "auto").finish()
