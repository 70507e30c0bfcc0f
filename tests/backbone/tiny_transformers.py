"""Dual encoders of the transformers library, small enough for a test: random weights, saved to a folder.

Their tokenizers know bytes alone; each family marks the begin, the end and the padding of a text in its own way.
"""

import io
import tempfile

import sentencepiece
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

SIZE, WIDTH, CONTEXT = 32, 16, 70
LAYERS = {"hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = {**LAYERS, "image_size": SIZE, "patch_size": 16}
BERT = {**LAYERS, "max_position_embeddings": CONTEXT, "hidden_dropout_prob": 0.0}


def tokenizer(first, last, begin, end, padding, inputs=("input_ids", "attention_mask")):
    """One token per byte; `first` stand before the alphabet, `last` behind it."""
    words = [*first, *sorted(pre_tokenizers.ByteLevel.alphabet()), *last]
    rules = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, []))
    rules.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rules.decoder = decoders.ByteLevel()
    marks = [(word, words.index(word)) for word in (begin, end) if word]
    rules.post_processor = processors.TemplateProcessing(f"{begin or ''} $0 {end}".strip(), special_tokens=marks)
    special = {"cls_token": begin, "sep_token": end} if begin == "[CLS]" else {"eos_token": end}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=rules,
        pad_token=padding,
        model_max_length=CONTEXT,
        model_input_names=list(inputs),
        **special,
    )


def clip_words():
    return tokenizer([], ["<start>", "<end>"], "<start>", "<end>", "<end>")


def bert_words():
    return tokenizer(["[PAD]", "[CLS]", "[SEP]"], [], "[CLS]", "[SEP]", "[PAD]")


def siglip_words():
    return tokenizer(["<unk>", "</s>"], [], None, "</s>", "</s>", ["input_ids"])


def siglip2_words():
    """Keeps capitals and commas, as the SigLIP 2 checkpoints' own does."""
    return tokenizer(["<pad>", "<eos>"], [], None, "<eos>", "<pad>", ["input_ids"])


def sentences():
    """SigLIP's own tokenizer, on a model of words that sentencepiece learns here."""
    model = io.BytesIO()
    texts = ["a photo of the nice polar bear", "x y z cat dog", "a b c d e f g h i j k l m n o p q r s t u v w"] * 9
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=80,
        model_type="bpe",
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    with tempfile.NamedTemporaryFile(suffix=".model") as file:
        file.write(model.getvalue())
        file.flush()
        return transformers.SiglipTokenizer(file.name, pad_token="</s>", model_max_length=CONTEXT)


def clip(end_id=257):
    text = {**LAYERS, "vocab_size": 258, "max_position_embeddings": CONTEXT, "eos_token_id": end_id}
    text |= {"bos_token_id": 256, "pad_token_id": 257}
    config = transformers.CLIPConfig(text_config=text, vision_config=VISION, projection_dim=WIDTH)
    return transformers.CLIPModel(config), clip_words(), shortest_edge()


def legacy_clip():
    """As OpenAI's checkpoints on the hub: a wrong end id, at which transformers looks for the highest id instead."""
    return clip(end_id=2)


def groupvit():
    text = {**LAYERS, "vocab_size": 258, "max_position_embeddings": CONTEXT, "eos_token_id": 257}
    groups = {"depths": [1, 1], "num_group_tokens": [4, 0], "num_output_groups": [4, 2]}
    vision = {**VISION, **groups, "patch_size": 8}
    config = transformers.GroupViTConfig(
        text_config=text, vision_config=vision, projection_dim=WIDTH, projection_intermediate_dim=32
    )
    return transformers.GroupViTModel(config), clip_words(), shortest_edge()


def align():
    vision = {
        "image_size": SIZE,
        "width_coefficient": 1.0,
        "depth_coefficient": 1.0,
        "kernel_sizes": [3, 3],
        "in_channels": [32, 16],
        "out_channels": [16, 16],
        "strides": [1, 2],
        "num_block_repeats": [1, 1],
        "expand_ratios": [1, 2],
        "hidden_dim": WIDTH,
        "dropout_rate": 0.0,
        "drop_connect_rate": 0.0,
    }
    config = transformers.AlignConfig(
        text_config={**BERT, "vocab_size": 259}, vision_config=vision, projection_dim=WIDTH, temperature_init_value=0.05
    )
    processor = transformers.EfficientNetImageProcessor(
        size={"height": 40, "width": 40},
        do_center_crop=True,
        crop_size={"height": SIZE, "width": SIZE},
        rescale_factor=1 / 127.5,
        rescale_offset=True,
        do_normalize=False,
        include_top=False,
    )
    return transformers.AlignModel(config), bert_words(), processor


def altclip():
    words = tokenizer(["<s>", "<pad>", "</s>"], [], "<s>", "</s>", "<pad>")
    text = {**BERT, "vocab_size": 259, "project_dim": WIDTH, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    config = transformers.AltCLIPConfig(text_config=text, vision_config=VISION, projection_dim=WIDTH)
    return transformers.AltCLIPModel(config), words, shortest_edge()


def blip():
    text = {**BERT, "vocab_size": 259, "encoder_hidden_size": WIDTH, "bos_token_id": 1, "sep_token_id": 2}
    config = transformers.BlipConfig(text_config=text, vision_config=VISION, image_text_hidden_size=WIDTH)
    processor = transformers.BlipImageProcessor(size={"height": SIZE, "width": SIZE})
    return transformers.BlipForImageTextRetrieval(config), bert_words(), processor


def siglip(words=siglip_words):
    text = {**LAYERS, "vocab_size": 258, "max_position_embeddings": CONTEXT, "bos_token_id": 1, "eos_token_id": 1}
    config = transformers.SiglipConfig(text_config=text, vision_config=VISION)
    processor = transformers.SiglipImageProcessor(size={"height": SIZE, "width": SIZE})
    return transformers.SiglipModel(config), words(), processor


def siglip2():
    return siglip(siglip2_words)


def siglip_sentencepiece():
    return siglip(sentences)


def shortest_edge():
    return transformers.CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})


MAKERS = (clip, legacy_clip, groupvit, align, altclip, blip, siglip, siglip2, siglip_sentencepiece)
FAMILIES = {make.__name__: make for make in MAKERS}


def save(folder, family, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        parts = FAMILIES[family]()
        for parameter in parts[0].parameters():
            if parameter.dim() > 1:  # their own first values make all texts alike
                torch.nn.init.normal_(parameter, std=0.3)
        for name in ("logit_scale", "temperature"):
            if hasattr(parts[0], name):
                torch.nn.init.constant_(getattr(parts[0], name), 0.5)
    for part in parts:
        part.save_pretrained(folder)
    return str(folder)
