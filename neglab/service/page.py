"""A page for people: drop an image, see its score, class and nearest negatives."""

from typing import Any

from PIL import Image

from neglab import digits
from neglab.data.pictures import as_rgb, upright
from neglab.detector import Detector
from neglab.service.answers import judgements
from neglab.types import UserError

Shown = tuple[str, dict[str, float], dict[str, float]]  # verdict, nearest class and nearest negatives with their shares


def check(detector: Detector) -> None:
    """Raise a UserError where the method judges no image by itself."""
    if detector.scorer.order_dependent:
        raise UserError(
            f"A page judges one image at a time; method={detector.recipe.method} learns from many. Save a detector "
            "with another method, such as method=neglabel."
        )


def judged(detector: Detector, image: Image.Image | None, num_negatives: int) -> Shown:
    """What the page shows of an image; of none, nothing.

    Args:
        detector: judges each image by itself.
        image: as it was dropped.
        num_negatives: that are named.
    """
    if image is None:
        return "", {}, {}
    pixels = detector.transform(as_rgb(upright(image)))
    (found,) = judgements(detector, [pixels], num_negatives)
    verdict = {True: "**It does not belong.** ", False: "**It belongs.** ", None: ""}[found.is_ood]
    threshold = "" if detector.threshold is None else f" (threshold {digits.shown(detector.threshold)})"
    own = found.predicted_class
    return (
        f"{verdict}ID score {digits.shown(found.score or 0.0)}{threshold}",
        {own.label: own.share} if own else {},
        {one.label: one.share for one in found.nearest_negatives},
    )


def make_page(detector: Detector, num_negatives: int) -> Any:
    """The Gradio page, not launched yet.

    Args:
        detector: judges each image by itself.
        num_negatives: nearest negatives that it names.

    Raises:
        UserError: a method that learns while it tests.
    """
    import gradio  # pyright: ignore[reportMissingImports] (an extra)

    check(detector)
    names, model = detector.bank.id_labels.names, detector.recipe.model
    shown = ", ".join(names[:20]) + ", ..." * (len(names) > 20)
    caution = f" {detector.recipe.caution}" if detector.recipe.caution else ""
    with gradio.Blocks(title="neglab", analytics_enabled=False) as page:
        gradio.Markdown("# Does it belong?")
        gradio.Textbox(f"{shown}\nBy {detector.recipe.method} with {model}.{caution}", label="Classes", lines=2)
        with gradio.Row():
            image = gradio.Image(type="pil", label="Image", sources=["upload", "clipboard"])
            with gradio.Column():
                verdict = gradio.Markdown()
                own = gradio.Label(label="Nearest class")
                negatives = gradio.Label(label="Nearest negative labels")
        image.change(
            lambda one: judged(detector, one, num_negatives), image, [verdict, own, negatives], api_name="judge"
        )
    return page
