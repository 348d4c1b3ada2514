#!/usr/bin/env python3
"""How r1-nano uses its experts and how often its MTP module guesses right, over its own greedy replies.

    report.py --work WORK --answers ANSWERS.jsonl      ANSWERS from evaluate.py --out

Experts: the share of routed tokens each expert of each layer gets. MTP: from the state at t and token t+1 the module names
token t+2; accepted where that is the token the model itself wrote there."""

import argparse
import json
from pathlib import Path

import nano
import tasks
import torch
from tokenizers import Tokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--answers", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=1200, help="replies")
    args = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = Tokenizer.from_file(str(args.work / "tokenizer" / "tokenizer.json"))
    model = nano.build("r1-nano", 0).eval()
    model.load_state_dict(torch.load(args.work / "r1-nano.pt", map_location="cpu", weights_only=True)["model"])
    rows = [json.loads(line) for line in open(args.answers)]
    rows = rows[:: max(1, len(rows) // args.limit)]
    accepted, guesses = {}, {}
    with torch.no_grad():
        for row in rows:
            prompt = tokenizer.encode(tasks.prompt_text(row["prompt"]), add_special_tokens=False).ids
            reply = tokenizer.encode(tasks.reply_text(row["got_thought"], row["got"]), add_special_tokens=False).ids
            ids = torch.tensor([prompt + reply])
            h = model.hidden(ids)
            guess = model.head(model.mtp(h[:, :-1], model.embed(ids[:, 1:]), model.rope)).argmax(-1)[0]
            # Row t guesses token t+2; counted where that token is the model's own, beginning with the reply's second.
            first = len(prompt) - 1
            right = guess[first:-1] == ids[0, first + 2 :]
            task = row["task"]
            accepted[task] = accepted.get(task, 0) + int(right.sum())
            guesses[task] = guesses.get(task, 0) + right.numel()
    for task in guesses:
        print(f"MTP {task:10s} {accepted[task]:6d} / {guesses[task]:6d}  {100 * accepted[task] / guesses[task]:5.1f} %")
    print(f"MTP {'all':10s} {sum(accepted.values()):6d} / {sum(guesses.values()):6d}  {100 * sum(accepted.values()) / sum(guesses.values()):5.1f} %")
    for i, moe in enumerate(model.moes()):
        share = 100 * moe.load / moe.load.sum()
        name = f"layer {i + 1}" if i + 1 < len(model.blocks) else "MTP"
        print(f"experts {name:8s} least {share.min():4.1f} % most {share.max():4.1f} % (even: {100 / len(share):.2f} %): " + " ".join(f"{s:.1f}" for s in share))


if __name__ == "__main__":
    main()
