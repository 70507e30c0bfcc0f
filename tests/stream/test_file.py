import pytest

from neglab.stream.file import FileStream
from neglab.types import UserError


def test_the_file_gives_the_order(tmp_path):
    (tmp_path / "order.txt").write_text("4\n0\n2\n")
    assert FileStream(str(tmp_path / "order.txt"), 2, True).draw(3, 2).order.tolist() == [4, 0, 2]


@pytest.mark.parametrize("text", ["", "0\n0\n", "5\n", "-1\n", "one\n"])
def test_mistakes(tmp_path, text):
    (tmp_path / "order.txt").write_text(text)
    with pytest.raises(UserError, match=r"order\.txt"):
        FileStream(str(tmp_path / "order.txt"), 2, True).draw(3, 2)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"stream\.path"):
        FileStream(str(tmp_path / "no.txt"), 2, True).draw(3, 2)
