"""The art families, shared by all tools here and by tools/build_mini."""

import re

# Families whose art is akin count as one: a drawing held out in one style is held out in its relatives.
FAMILIES = {
    "noto": ("noto", "noto_v1"),
    "fluent": ("fluent_flat", "fluent_modern", "fluent_high_contrast"),
    "emojione": ("emojione", "emojione_monotone"),
    "twemoji": ("twemoji",),
}
UNSEEN_STYLES = {"fx": "fxemoji", "streamline": "streamline"}  # never train: the domain shift


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"[’'.]", "", name.lower())).strip("-")
