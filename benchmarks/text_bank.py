"""The text bank: texts of one length in tokens together and cut at their end, against one list of 77 tokens each."""

from collections.abc import Sequence

import torch
from hydra.utils import instantiate
from torch.nn.functional import normalize

from benchmarks.figure import Figure, Ratio, report, seconds
from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.compose import compose
from neglab.embedding.module import EmbeddingModule, TextJob
from neglab.text_rows import KeyedTexts
from neglab.weights.word_ids import WordIds

BATCH_SIZE = 1024
VIT_B16 = ("backbone=open_clip", "backbone.model=ViT-B-16", "backbone.pretrained=null")


@torch.inference_mode()
def encode(module: EmbeddingModule, texts: list[str], batch_size: int) -> torch.Tensor:
    """What a pass does with texts, from strings to rows, without its loading processes and files."""
    backbone, rows = module.backbone, torch.empty(len(texts), module.backbone.embedding_dim)
    job = TextJob("texts", KeyedTexts(texts), backbone.count_tokens(texts), backbone.tokenize, batch_size)
    for i, index in enumerate(job.batches()):
        rows[index] = module.predict_step(job.load(index), i)[1]["embeddings"]
    return rows


@torch.inference_mode()
def encode_whole_length(backbone: OpenCLIPBackbone, texts: list[str]) -> torch.Tensor:
    """The plain way: the library's tokenizer and call, in the order of the list."""
    return backbone.network.encode_text(backbone.tokenizer(texts))


def measure(backbone: Sequence[str] = VIT_B16, every: int = 32, plain_every: int = 14) -> Figure:
    """On NegLabel's prompts of every n-th word of WordNet, the plain way on every n-th of these.

    Batches are smaller by the same factor, so that they mix texts of other lengths as those of the whole list do.
    """
    config = compose([*backbone, "method=neglabel"])
    tower, words = instantiate(config.backbone), instantiate(config.corpus).words([])
    texts = instantiate(config.prompt).expand(words.names[::every], words.parts_of_speech[::every])[0]
    module, few, batch_size = EmbeddingModule(tower), texts[::plain_every], max(1, BATCH_SIZE // every)

    def ours() -> torch.Tensor:
        tower.word_ids = WordIds(tower.tokenizer)
        return encode(module, texts, batch_size)

    shortened, whole = ours()[::plain_every], encode_whole_length(tower, few)
    times = seconds({"ours": ours, "plain": lambda: encode_whole_length(tower, few)}, repeats=3)
    per_text = {"ours": times["ours"] / len(texts), "plain": times["plain"] / len(few)}
    num_tokens = tower.count_tokens(texts).float().mean()
    return Figure(
        what=f"text bank, {len(texts):,} of WordNet's words, text tower of {config.backbone.model}",
        plain=f"{len(few)} of the same texts in {tower.context_length} tokens, one list; time per text",
        ratios=(Ratio("plain way / ours", per_text["plain"] / per_text["ours"], 9),),
        difference=float((normalize(shortened, dim=1) - normalize(whole, dim=1)).abs().max()),
        tolerance=1e-6,
        details={"seconds_per_text": per_text, "mean_tokens": round(float(num_tokens), 2)},
    )


if __name__ == "__main__":
    report("text_bank", measure)
