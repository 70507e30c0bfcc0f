"""Tokenizing the prompts of CSP and NegRefine: each word asked of the library once, against one call per prompt."""

import torch
from hydra.utils import instantiate

from benchmarks.figure import Figure, Ratio, report, seconds
from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.compose import compose
from neglab.embedding.module import TextJob
from neglab.text_rows import KeyedTexts
from neglab.weights.word_ids import WordIds

BATCH_SIZE = 1024


def measure(every: int = 8) -> Figure:
    """On all prompts of every n-th name, as often as names stand in prompts of the whole list. Caches begin empty."""
    config = compose(["backbone=mini", "method=csp"])
    backbone, words = instantiate(config.backbone), instantiate(config.corpus).words([])
    assert isinstance(backbone, OpenCLIPBackbone)
    names, parts_of_speech = words.names[::every], words.parts_of_speech[::every]
    texts = instantiate(config.prompt).expand(names, parts_of_speech)[0]
    special = dict(backbone.tokenizer.cache)

    def forget() -> None:
        backbone.tokenizer.cache, backbone.word_ids = dict(special), WordIds(backbone.tokenizer)

    def ours() -> list[tuple[torch.Tensor, torch.Tensor]]:
        """What a pass does: distinct texts are counted, and tokenized batch by batch."""
        forget()
        distinct = list(dict.fromkeys(texts))
        job = TextJob("texts", KeyedTexts(distinct), backbone.count_tokens(distinct), backbone.tokenize, BATCH_SIZE)
        batches = (job.load(index) for index in job.batches())
        return [(batch.positions, batch.ids) for batch in batches if batch.ids is not None]

    def plain() -> dict[str, torch.Tensor]:
        forget()
        return {text: backbone.tokenizer([text])[0] for text in texts}

    expected = torch.stack(list(plain().values()))
    found = torch.zeros_like(expected)
    for positions, ids in ours():
        found[positions, : ids.shape[1]] = ids
    times = seconds({"ours": ours, "plain": plain}, repeats=3)
    return Figure(
        what=f"tokenizing {len(texts):,} prompts, those of one in {every} of CSP's words",
        plain="one call of the library's tokenizer per prompt",
        ratios=(Ratio("plain way / ours", times["plain"] / times["ours"], 5),),
        difference=float((found - expected).abs().max()),
        tolerance=0,
        details={"seconds": times},
    )


if __name__ == "__main__":
    report("tokenising", measure)
