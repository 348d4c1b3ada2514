#!/usr/bin/env python3
"""Makes the vocabulary of r1-nano: byte-level BPE, DeepSeek's special tokens and DeepSeek-V3's own pre-tokenizer.

    tokenizer.py OUT [--size 768] [--seed 1]

Digits never merge: the text the merges are learned from has its digits taken out."""

import argparse
import json
import re
from pathlib import Path

import tasks
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

# DeepSeek-V3's expressions as its tokenizer.json has them; the line ends are the characters themselves there.
SPLITS = [
    r"\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    (
        r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"""
        r"""|\s*[\r\n]+|\s+(?!\S)|\s+"""
    ).replace(r"\r\n", "\r\n"),
]
PAD = "<｜▁pad▁｜>"
CONTROL = [tasks.BOS, tasks.EOS, PAD]
ROLES = [tasks.USER, tasks.ASSISTANT, "<think>", "</think>"]
UNUSED = 5
# The template of DeepSeek-R1 (2025), less the parts about tools.
CHAT_TEMPLATE = (
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}"
    "{% set ns = namespace(system_prompt='') %}"
    "{%- for message in messages %}{%- if message['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}"
    "{{bos_token}}{{ns.system_prompt}}"
    "{%- for message in messages %}"
    "{%- if message['role'] == 'user' %}{{'<｜User｜>' + message['content']}}{%- endif %}"
    "{%- if message['role'] == 'assistant' %}{% set content = message['content'] %}"
    "{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}"
    "{{'<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>'}}{%- endif %}"
    "{%- endfor -%}"
    "{% if add_generation_prompt %}{{'<｜Assistant｜><think>\\n'}}{% endif %}"
)


def corpus(seed, count):
    """The generator's own text, and letters one by one, as the counting of letters writes them."""
    problems = tasks.stream("train", seed)
    for _ in range(count):
        _, prompt, thought, answer = next(problems)
        yield from re.split(r"\d+", f"{prompt}\n{thought}\n\n{answer}")
    for c in "abcdefghijklmnopqrstuvwxyz":
        for _ in range(count // 10):
            yield f" {c}"


def make(directory, size, seed):
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(s), "isolated") for s in SPLITS]
        + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(ROLES) - UNUSED,
        special_tokens=[AddedToken(s, special=True, normalized=False) for s in CONTROL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(seed, 20000), trainer)
    tokenizer.add_tokens([AddedToken(r, special=r.startswith("<｜"), normalized=False) for r in ROLES])
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": tasks.BOS,
        "eos_token": tasks.EOS,
        "pad_token": PAD,
        "model_max_length": 4096,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": CHAT_TEMPLATE,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings, indent=1, ensure_ascii=False) + "\n")
    return tokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=768)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    tokenizer = make(args.out, args.size, args.seed)
    print(f"{tokenizer.get_vocab_size()} tokens in {args.out}")


if __name__ == "__main__":
    main()
