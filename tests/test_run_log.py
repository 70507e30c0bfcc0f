import logging
import re

import pytest

from neglab.run_log import FILE, start_log


@pytest.fixture(autouse=True)
def as_before():
    root, ours = logging.getLogger(), logging.getLogger("neglab")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    yield
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def say():
    logging.getLogger("neglab.x").info("quietly")
    logging.getLogger("neglab.x").warning("loudly")
    logging.getLogger("other").debug("details")


def test_the_file_has_more_than_the_screen_with_time_and_level(tmp_path, capsys):
    start_log(tmp_path, False)
    say()
    assert capsys.readouterr().err == "loudly\n"
    lines = (tmp_path / FILE).read_text().splitlines()
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ INFO neglab\.x: quietly$", lines[0])
    assert lines[1].endswith("WARNING neglab.x: loudly") and len(lines) == 2


@pytest.mark.parametrize(
    ("level", "said"), [("info", "quietly\nloudly\n"), ("error", ""), ("debug", "quietly\nloudly\n")]
)
def test_a_level_decides_what_the_screen_shows(level, said, tmp_path, capsys):
    start_log(tmp_path, False, level)
    say()
    assert capsys.readouterr().err == said
    assert "quietly" in (tmp_path / FILE).read_text()  # the file has it all the same


def test_all_or_some_may_be_verbose(tmp_path, capsys):
    start_log(tmp_path, True)
    say()
    assert "DEBUG other: details" in capsys.readouterr().err
    start_log(tmp_path, ["other"])
    logging.getLogger("third").debug("nothing")
    say()
    said = capsys.readouterr().err
    assert "DEBUG other: details" in said and "third" not in said
    logging.getLogger("other").setLevel(logging.NOTSET)
