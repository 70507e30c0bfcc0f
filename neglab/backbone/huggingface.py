"""Backbones of the transformers library: CLIP, ALIGN, AltCLIP, GroupViT, BLIP, SigLIP, any dual encoder."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from open_clip.tokenizer import get_clean_fn
from PIL import Image
from torch import Tensor, nn

from neglab.backbone.base import Backbone
from neglab.ranges import Positive
from neglab.types import UserError
from neglab.weights.files import advice, look_for_hub
from neglab.weights.loading import brief, fixed_random_weights, vocabulary_digest
from neglab.weights.transforms import ProcessedImage

NO_ARCHITECTURE = ("_name_or_path", "transformers_version", "dtype", "torch_dtype")
SIGLIP = ("siglip", "siglip2")  # model types
CANONICAL = "canonicalize"  # open_clip's name of SigLIP's cleaning
RETRIEVAL_HEAD = ("vision_model", "vision_proj", "text_encoder", "text_proj")  # the parts of BLIP's


class HuggingFaceBackbone(Backbone):
    """A dual encoder loaded by transformers, 4.50 or later and 5.

    The architecture that the checkpoint's configuration names is built: a model with `get_text_features` and
    `get_image_features`, or BLIP's for image-text retrieval. The attention mask goes to towers whose tokenizer makes
    one, but not to SigLIP's, which reads its padding. SigLIP knows texts in lower case without punctuation alone; where
    its tokenizer leaves a text as it is, that is done here, as open_clip does.

    Args:
        model: a model id on the Hugging Face hub, or a local folder.
        revision: branch, tag or commit on the hub; None: the newest.
        logit_scale: 1 / temperature; None: the model's own.
        precision: of weights and activations, as of every backbone.
        long_texts: what becomes of texts beyond the context, as of every backbone.
        transform: of images, as of every backbone.
        compile: the towers, as of every backbone.

    Raises:
        UserError: the model cannot be found, is no dual encoder, has weights of another architecture, takes images as
            lists of patches (NaFlex), or has no temperature and `logit_scale` is None.

    Source: Wolf et al., "Transformers: State-of-the-Art Natural Language Processing", 2020.
    Differs: SigLIP adds a bias to its logits and takes their sigmoid; here, as for every backbone, scores are made of
        the scaled cosines. A softmax, and any difference of logits, is the same with and without the bias.
    """

    def __init__(
        self,
        model: str,
        revision: str | None,
        logit_scale: Positive | None,
        precision: str,
        long_texts: str,
        transform: str,
        compile: bool,
    ) -> None:
        super().__init__(precision, long_texts, transform, compile)
        self.network, self.tokenizer, processor = _load(model, revision)
        self.logit_scale = _own_logit_scale(self.network, model) if logit_scale is None else float(logit_scale)
        self.tokenizer.padding_side = "right"
        self.padding_id = self.tokenizer.pad_token_id
        self.is_siglip = self.network.config.model_type in SIGLIP
        tokens = self.tokenizer(["A Cat.", "a cat"]).input_ids
        self.canonicalizes = self.is_siglip and tokens[0] != tokens[1]
        self.context_length = min(self.tokenizer.model_max_length, _num_positions(self.network))
        own = ProcessedImage(processor)
        self._check_space(model, own)
        words = vocabulary_digest(self.tokenizer)
        identity = [type(self.network).__name__, type(self.tokenizer).__name__, words, _own_config(self.network.config)]
        self._settle(own, own.without_resizing(), identity + [CANONICAL] * self.canonicalizes)

    @property
    def _text_tower(self) -> nn.Module:
        return self.network.text_encoder if _is_retrieval_head(self.network) else self.network.text_model

    @property
    def _towers(self) -> Sequence[nn.Module]:
        # Of the text tower the layers alone: the shortened road puts a hook before them.
        encoders = [part for name, part in self._text_tower.named_modules() if name.rpartition(".")[2] == "encoder"]
        return self.network.vision_model, *encoders[:1]

    def _encode_images(self, images: Tensor) -> Tensor:
        if _is_retrieval_head(self.network):
            return self.network.vision_proj(self.network.vision_model(pixel_values=images)[0][:, 0])
        return _features(self.network.get_image_features(pixel_values=images))

    @property
    def _token_table(self) -> nn.Embedding:
        vocabulary = self.network.config.text_config.vocab_size
        tables = (part for part in self._text_tower.modules() if isinstance(part, nn.Embedding))
        return next(table for table in tables if table.num_embeddings == vocabulary)

    def _library_road(self, ids: Tensor, end: Tensor) -> Tensor:
        inputs = {"input_ids": ids}
        if "attention_mask" in self.tokenizer.model_input_names and not self.is_siglip:
            inputs["attention_mask"] = (torch.arange(ids.shape[1], device=ids.device) <= end[:, None]).long()
        if _is_retrieval_head(self.network):
            return self.network.text_proj(self.network.text_encoder(**inputs)[0][:, 0])
        return _features(self.network.get_text_features(**inputs))

    def _shortened_road(self, token_embeddings: Tensor, end: Tensor) -> Tensor:
        return self._fed_road(token_embeddings, end)

    def _full_ids(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        tokens = self.tokenizer(
            self._cleaned(texts),
            padding="max_length",
            max_length=self.context_length,
            truncation=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        return tokens.input_ids, tokens.attention_mask.sum(dim=1) - 1

    def _num_tokens(self, text: str) -> int:
        return len(self.tokenizer(self._cleaned([text]), verbose=False).input_ids[0])

    def _cleaned(self, texts: Sequence[str]) -> list[str]:
        return list(map(get_clean_fn(CANONICAL), texts)) if self.canonicalizes else list(texts)

    @torch.inference_mode()
    def _check_space(self, model: str, own: ProcessedImage) -> None:
        """Both towers run once, and what comes out must have one width."""
        with _loading(model):
            text = self._library_road(*self._full_ids(["cat"])).shape
            image = self._encode_images(own(Image.new("RGB", (64, 64)))[None]).shape
        if len(text) != 2 or text != image:
            raise UserError(
                "A backbone's texts and images must share one embedding space; backbone.model="
                f"{model} makes {tuple(text)} of a text and {tuple(image)} of an image. Choose another dual encoder."
            )


def _load(model: str, revision: str | None) -> tuple[Any, Any, Any]:
    """The network, its tokenizer and its image processor."""
    with _loading(model):
        config = transformers.AutoConfig.from_pretrained(model, revision=revision)
        # AutoModel would build BLIP without its retrieval head.
        architecture = getattr(transformers, (config.architectures or ["AutoModel"])[0])
        with fixed_random_weights():
            network, report = architecture.from_pretrained(model, revision=revision, output_loading_info=True)
    kind = type(network).__name__
    if not _is_dual_encoder(network):
        raise UserError(
            "A backbone must be a dual encoder, with features of texts and of images; backbone.model="
            f"{model} is a {kind}. Choose another model, such as openai/clip-vit-base-patch16."
        )
    if missing := sorted({name for name, _ in network.named_parameters()} & set(report["missing_keys"])):
        raise UserError(
            f"Weights must be of the architecture that their configuration names; {len(missing)} weights of a {kind} "
            f"are missing in {model}, the first is {missing[0]}. Take weights and config.json from one place."
        )
    with _loading(model):
        tokenizer = transformers.AutoTokenizer.from_pretrained(model, revision=revision)
        processor = transformers.AutoImageProcessor.from_pretrained(model, revision=revision)
    if "spatial_shapes" in processor.model_input_names:
        raise UserError(
            f"A backbone's images must be pixels of one size; backbone.model={model} is a NaFlex model, which takes "
            "lists of patches of images of any shape. Choose one of a fixed size, such as "
            "google/siglip2-base-patch16-224."
        )
    return network, tokenizer, processor


@contextmanager
def _loading(model: str) -> Iterator[None]:
    if not Path(model).expanduser().exists():
        look_for_hub()
    try:
        yield
    # A missing model, damaged files and missing packages raise errors of many kinds.
    except Exception as error:
        raise UserError(
            f"backbone.model={model} could not be loaded by transformers: {brief(error)} It must be a model id on "
            "huggingface.co, or a folder with a model, its tokenizer and its image processor."
            f"{advice(error)}"
        ) from error


def _is_retrieval_head(network: Any) -> bool:
    return all(hasattr(network, part) for part in RETRIEVAL_HEAD)


def _is_dual_encoder(network: Any) -> bool:
    has_features = all(hasattr(network, name) for name in ("get_text_features", "get_image_features"))
    return _is_retrieval_head(network) or (has_features and hasattr(network, "text_model"))


def _features(output: Any) -> Tensor:
    """transformers 4 returns the features, 5 an object that holds them."""
    return output if isinstance(output, Tensor) else output.pooler_output


def _own_logit_scale(network: Any, model: str) -> float:
    """CLIP and its kin learn a logarithm, ALIGN a temperature."""
    if (logarithm := getattr(network, "logit_scale", None)) is not None:
        return round(float(logarithm.detach().exp()), 4)
    if (temperature := getattr(network, "temperature", None)) is not None:
        return round(1 / float(temperature.detach()), 4)
    raise UserError(
        f"A score needs a temperature; backbone.model={model} keeps none. Set backbone.logit_scale, its inverse: "
        "100 is CLIP's."
    )


def _own_config(config: Any) -> dict[str, Any]:
    """What a model's configuration sets, without where it came from and how its weights were stored."""
    return {key: value for key, value in config.to_diff_dict().items() if key not in NO_ARCHITECTURE}


def _num_positions(network: Any) -> int:
    """Tokens that the text tower has positions for; RoBERTa's begin behind the padding token's id."""
    positions = network.config.text_config.max_position_embeddings
    for table in network.modules():
        if isinstance(table, nn.Embedding) and table.num_embeddings == positions and table.padding_idx is not None:
            return positions - table.padding_idx - 1
    return positions
