"""Chat models small enough for a test, saved to a folder and loaded by the real road.

`write_random` has random weights, so that any slip of position, mask or cache moves its logits. `write_scripted` has
weights set by hand: it averages over all tokens and says Yes where enough marker words stand among them.
"""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from neglab.llm_filter.base import PROPER_NOUN_QUESTION, SUBCATEGORY_QUESTION, SYSTEM_PROMPT

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
MARKERS = {"zork": 100.0, "blib": 2.0, "blab": 2.0}
# A zork says Yes to anything, a blib only where it is compared with a blab.
THRESHOLD = 0.0375

TEMPLATE = """{%- if messages[0].role == 'system' %}
{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- else %}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role != 'system' %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
NO_SYSTEM_TEMPLATE = """{%- for message in messages %}
{%- if message.role == 'system' %}{{- raise_exception('System role not supported') }}{%- endif %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""


def tokenizer(template=TEMPLATE):
    """Byte-level BPE that knows the words of the questions."""
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learned.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [SYSTEM_PROMPT, PROPER_NOUN_QUESTION, SUBCATEGORY_QUESTION, "Yes", "No", "system user assistant"]
    learned.train_from_iterator(texts * 3, trainer)
    learned.add_tokens([*MARKERS, "Yes", "No"])
    return PreTrainedTokenizerFast(
        tokenizer_object=learned, eos_token=END, pad_token=PAD, chat_template=template, padding_side="right"
    )


def write_random(folder, template=TEMPLATE, seed=0, initializer_range=0.3):
    words = tokenizer(template)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Qwen2ForCausalLM(_config(words, initializer_range))
    return _save(folder, words, network)


@torch.no_grad()
def write_scripted(folder, template=TEMPLATE):
    words = tokenizer(template)
    network = Qwen2ForCausalLM(_config(words, 0.02))
    for name, parameter in network.named_parameters():
        parameter.fill_(1.0 if "norm" in name else 0.0)
    yes, no = words.convert_tokens_to_ids(["Yes", "No"])
    embeddings, head = network.model.embed_tokens.weight, network.lm_head.weight
    embeddings[:, 0] = 10
    for word, weight in MARKERS.items():
        embeddings[words.convert_tokens_to_ids(word), 1] = weight
    # Queries and keys are zero: every token looks at all before it alike.
    attention = network.model.layers[0].self_attn
    attention.v_proj.weight[0, 1], attention.v_proj.weight[0, 0] = 1e4, -1e4 * THRESHOLD / 5
    attention.o_proj.weight[2, 0] = 1.0
    head[yes, 2], head[no, 2] = 5, -5
    # After its answer the model ends its message.
    embeddings[yes, 3] = embeddings[no, 3] = 1e7
    head[words.eos_token_id, 3] = 5
    return _save(folder, words, network)


def _config(words, initializer_range):
    return Qwen2Config(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=initializer_range,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )


def _save(folder, words, network):
    network.generation_config = GenerationConfig(
        do_sample=True,
        temperature=0.7,
        top_p=0.8,
        top_k=20,
        repetition_penalty=1.05,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    network.save_pretrained(folder)
    words.save_pretrained(folder)
    return str(folder)


def settings(folder, **changed):
    """Arguments of a chat or a filter that runs such a folder on the CPU."""
    base = {
        "model": str(folder),
        "revision": None,
        "dtype": "float32",
        "device_map": None,
        "quantisation": None,
        "batch_size": 64,
        "answer": "logits",
        "max_new_tokens": 4,
        "seed": 0,
    }
    return {**base, **changed}
