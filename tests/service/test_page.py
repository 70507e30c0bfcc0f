"""What the page shows; the page itself where Gradio is installed."""

import gc
import sys

import fakes
import pytest
from PIL import Image

from neglab.compose import compose
from neglab.score.adaneg import AdaNegScore
from neglab.service import page
from neglab.tasks import demo_page
from neglab.types import UserError


@pytest.fixture
def picture(tmp_path):
    with Image.open(fakes.write_pictures(tmp_path, 1)[0]) as image:
        image.load()
        yield image


def test_the_verdict_is_the_detectors(picture):
    detector = fakes.pixel_detector()
    (expected,) = detector.predict(picture)
    for detector.threshold, verdict in ((2.0, "**It does not belong.** "), (-1.0, "**It belongs.** ")):
        said, own, negatives = page.judged(detector, picture, 4)
        assert said.startswith(f"{verdict}ID score {expected.score:.3f}"[:-3]) and "(threshold" in said
        assert own == {expected.predicted_class: pytest.approx(expected.class_share, abs=1e-6)}
        assert len(negatives) == 4 and next(iter(negatives)) == expected.negative_label
    assert page.judged(detector, None, 4) == ("", {}, {})


def test_a_method_that_learns_from_many_is_refused():
    detector = fakes.pixel_detector()
    detector.scorer = AdaNegScore.__new__(AdaNegScore)
    with pytest.raises(UserError, match="one image at a time"):
        page.check(detector)


def test_without_gradio_the_command_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(UserError, match=r"pip install 'neglab\[page\]'"):
        demo_page.run(compose(["detector=x"], "demo_page"))


@pytest.mark.filterwarnings("ignore")  # what Gradio and its libraries leave open
def test_the_page_asks_the_detector(picture):
    pytest.importorskip("gradio")
    made = page.make_page(fakes.pixel_detector(), 3)
    (step,) = made.fns.values()
    assert step.fn(picture) == page.judged(fakes.pixel_detector(), picture, 3)
    made.close()
    gc.collect()
