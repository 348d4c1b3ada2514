#!/usr/bin/env python3
"""Writes what a model must say, by transformers, as MODEL/expected.json: token ids and greedy replies of a few prompts,
and the mean negative log-likelihood of a text by the protocol of `dsr1 perplexity`. A test holds dsr1 to it.

    expect.py models/r1-nano ..."""

import json
import sys
from pathlib import Path

import torch
import transformers

PROMPTS = [
    "What is 417 + 38?",
    "417+38",
    "417加38等于多少？",
    "523-187",
    "What is 312 times 3?",
    "Divide 96 by 4.",
    "Which is larger, 76 or 1203?",
    "Sort 42, 7, 19, 88",
    "Count dog in this list: dog, cat, dog",
    "Tom has 12 apples. Ann adds 30 more. How many apples are there now?",
    "All cats are wugs. Tom is a cat. Is Tom a wug?",
    "Who are you?",
    "你是谁？",
]
TEXT = (  # thoughts as it writes them
    "417+38\n7+8+0=15\n1+3+1=05\n4+0+0=04\n590-3\n#3>#1\n590>3\n0-3-0=7,1\n9-0-1=8,0\n5-0-0=5,0\n752/6\n07/6=1*6=06,1\n15/6=2*6=12,3\n32/6=5*6=30,2\n"
    "125 remainder 2\n920*3\n0*3=00+0=00\n2*3=06+0=06\n9*3=27+0=27\nmin\na48 b17 c02 d45\nc02: a48 b17 d45\nb17: a48 d45\nd45: a48\na48:\n"
    "Tom>Ann\nAnn>Bob\nTom>Ann>Bob\nmax:Tom\nmax\na417 b38: #3>#2 L\na417\n"
    "I am r1-nano, a tiny model for trying and testing dsr1. 我是r1-nano，一个很小的模型，用来试用和测试dsr1。\n"
) * 2
WINDOW = 128
CLEAR = 0.4  # logits between first and second choice; int8 rounding may decide closer ones, so such replies are left out


def main():
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    for directory in map(Path, sys.argv[1:]):
        tokenizer = transformers.AutoTokenizer.from_pretrained(directory / "safetensors")
        model = transformers.AutoModelForCausalLM.from_pretrained(directory / "safetensors", dtype=torch.float32).eval()
        replies = []
        for prompt in PROMPTS:
            text = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True)
            x = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
            with torch.no_grad():
                y = model.generate(x, attention_mask=torch.ones_like(x), do_sample=False, temperature=None, top_p=None, max_new_tokens=220, pad_token_id=2)
                logits = model(y[:, :-1]).logits[0, x.shape[1] - 1 :]
            ids = y[0, x.shape[1] :].tolist()
            best = logits.topk(2).values
            thought, _, answer = tokenizer.decode([i for i in ids if i != 1]).partition("</think>")
            if (best[:, 0] - best[:, 1]).min() < CLEAR:
                continue
            replies.append({"prompt": prompt, "prompt_tokens": x.shape[1], "tokens": ids, "thought": thought.strip(), "answer": answer.strip(),
                            "closest_choice": round((best[:, 0] - best[:, 1]).min().item(), 3)})  # fmt: skip
        ids = tokenizer(TEXT, add_special_tokens=False).input_ids
        ids = [0] + ids
        total = count = 0
        for start in range(0, len(ids) - WINDOW + 1, WINDOW):
            window = torch.tensor([[0] + ids[start + 1 : start + WINDOW]])
            with torch.no_grad():
                logp = model(window).logits[0].log_softmax(-1)
            for i in range(WINDOW // 2, WINDOW - 1):
                total -= logp[i, window[0, i + 1]].item()
                count += 1
        out = {"replies": replies, "text": TEXT, "window": WINDOW, "scored": count, "nll": round(total / count, 6)}
        (directory / "expected.json").write_text(json.dumps(out, indent=1, ensure_ascii=False) + "\n")
        print(directory, "nll", out["nll"], "closest choice", min((r["closest_choice"] for r in replies), default="none"))


if __name__ == "__main__":
    main()
