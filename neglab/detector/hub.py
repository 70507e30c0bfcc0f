"""A detector on the Hugging Face Hub, by huggingface_hub's own conventions, with a model card that says what it is."""

import logging
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData, ModelHubMixin, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from jinja2 import Environment, StrictUndefined

from neglab import __version__, digits
from neglab.detector.saved import DESCRIPTION, TENSORS
from neglab.saved_config import ASSETS
from neglab.types import UserError
from neglab.weights.files import look_for_hub

logger = logging.getLogger(__name__)

TAGS = ["out-of-distribution-detection", "vision-language", "negative-labels"]
NAMES_SHOWN = 200  # of classes and of negatives, on the card
# What comes from class names and words stands in indented blocks as JSON, which no name breaks out of.
CARD = """
# Which images do not belong?

A neglab detector of {{ classes | length }} classes by `{{ method }}` with
`{{ model }}` and {{ negatives | length }} negative labels. A higher score is more in-distribution.
{% if caution %}
**Mind:**

    {{ caution | tojson }}
{% endif %}
```python
from neglab import Detector

detector = Detector.from_pretrained("OWNER/NAME")  # this repository
print(detector.predict("photo.jpg"))
```

| | |
|---|---|
| threshold | {{ threshold }} |
| where it comes from | {{ origin }} |
| backbone's fingerprint | `{{ fingerprint[:12] }}` |
| neglab | {{ version }} |
{% if is_local %}
The backbone's weights are not in this repository: they must lie on the machine at the place that `detector.json` names.
{% endif %}
Classes{{ " (the first %d)" % shown if classes | length > shown }}:

    {{ classes[:shown] | tojson }}

Negative labels{{ " (the first %d)" % shown if negatives | length > shown }}:

    {{ negatives[:shown] | tojson }}
"""


class OnHub(ModelHubMixin, library_name="neglab", tags=TAGS, pipeline_tag="zero-shot-image-classification"):
    """`save_pretrained`, `push_to_hub` and `from_pretrained` of a detector."""

    recipe: Any
    bank: Any
    threshold: Any
    threshold_origin: Any
    save: Any
    load: Any

    def __new__(cls, *arguments: Any, **named: Any) -> Any:
        """With a config.json, by which the Hub counts downloads, of no arguments: detector.json has what is needed."""
        instance = object.__new__(cls)
        instance._hub_mixin_config = {"neglab": __version__}
        return instance

    def _save_pretrained(self, save_directory: Path) -> None:
        if places := local_places(self.recipe.groups["backbone"]):
            logger.warning(
                "The weights of the backbone stay where they are, %s: who loads this detector needs them at that place",
                ", ".join(places),
            )
        self.save(save_directory)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Any:
        """A detector of a folder or of a repository of the Hub.

        Args:
            pretrained_model_name_or_path: the folder, or OWNER/NAME.
            options: those of huggingface_hub (revision, token, cache_dir, force_download, local_files_only), and
                device, as of `load`.

        Raises:
            UserError: it cannot be had, or is no detector.
        """
        if not Path(pretrained_model_name_or_path).is_dir():
            look_for_hub()
        try:
            return super().from_pretrained(pretrained_model_name_or_path, **options)
        except (HfHubHTTPError, HFValidationError, OSError) as error:
            raise UserError(
                "A detector is a folder, or a repository of the Hub such as OWNER/NAME that this machine can reach; "
                f"got {pretrained_model_name_or_path}: {str(error).strip().splitlines()[0]:.200}"
            ) from error

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        device: str | None = None,
        **ignored: Any,
    ) -> Any:
        """Of a folder or of a repository, whose two files are all that is fetched; both are data."""
        if Path(model_id).is_dir():
            return cls.load(model_id, device)
        folder = snapshot_download(
            model_id,
            revision=revision,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
            allow_patterns=[TENSORS, DESCRIPTION],
        )
        return cls.load(folder, device)

    def generate_model_card(self, *arguments: Any, **named: Any) -> ModelCard:
        """What the detector is, from what it was made of."""
        recipe, threshold = self.recipe, self.threshold
        page = Environment(undefined=StrictUndefined, autoescape=False, trim_blocks=True)  # Markdown
        page.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
        body = page.from_string(CARD).render(
            classes=list(self.bank.id_labels.names),
            negatives=list(self.bank.negatives.names),
            method=recipe.method,
            model=recipe.model,
            caution=recipe.caution,
            threshold="none" if threshold is None else digits.shown(threshold),
            origin=self.threshold_origin,
            fingerprint=recipe.backbone,
            is_local=bool(local_places(recipe.groups["backbone"])),
            version=__version__,
            shown=NAMES_SHOWN,
        )
        data: ModelCardData = self._hub_mixin_info.model_card_data
        return ModelCard(f"---\n{data.to_yaml()}\n---\n{body}")


def local_places(backbone: dict[str, Any]) -> list[str]:
    """The files and folders of this machine that a backbone's config names; what ships with neglab is not among them.

    Args:
        backbone: its saved config.
    """
    texts = [str(value).removeprefix("local-dir:") for key, value in backbone.items() if key in ("model", "pretrained")]
    return [text for text in texts if ASSETS not in text and Path(text).exists()]
