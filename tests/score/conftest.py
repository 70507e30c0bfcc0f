"""A text tower for the scores that encode texts while they run."""

import pytest

from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.embedding.text_encoder import DirectTextEncoder
from neglab.prompt.templates import PromptTemplates


@pytest.fixture(scope="session")
def encoder(tiny_model, tmp_path_factory):
    backbone = OpenCLIPBackbone(tiny_model, None, "fp32", "error", "model", False)
    prompts = PromptTemplates(["{}"], ["{}"], True)
    return DirectTextEncoder(backbone, prompts, tmp_path_factory.mktemp("store"), 64)
