#!/usr/bin/env python3
"""Examines a model on problems no training saw (tasks.py, split "test") and prints the share answered right by task.

    evaluate.py MODEL [--engine build/release/dsr1]       through dsr1; MODEL is a GGUF file or a directory
    evaluate.py DIR --engine transformers                 through transformers (greedy)

An answer counts where the text after </think> is the expected one, character for character, white space around it aside.
--temperature 0 is greedy; 0.6 samples as `dsr1 run` does (top-p 0.95). --out keeps every answer as JSON lines."""

import argparse
import json
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tasks

MAX_TOKENS = 220  # the longest worked solution has about 130


def examination(per_task, seed):
    """The same problems for everybody: per_task of each task."""
    out = []
    for task in tasks.TASKS:
        r = random.Random(f"test:{seed}")
        for _ in range(per_task):
            r.random()  # where tasks.stream draws the task
            (_, prompt, thought, answer), new_wording = tasks.draw(r, "test", task)
            out.append({"task": task, "prompt": prompt, "thought": thought, "answer": answer, "new_wording": new_wording})
    return out


def by_dsr1(program, model, problems, temperature, seed, max_tokens=MAX_TOKENS, workers=2):
    """Per problem (thought, answer, finished)."""

    def one(i):
        command = [program, "run", str(model), "-p", problems[i]["prompt"], "--json", "--temp", str(temperature), "--seed", str(seed + i), "-n", str(max_tokens), "-t", "1"]
        got = json.loads(subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout)
        return got["reasoning_content"], got["answer"], got["finish_reason"] == "stop"

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, range(len(problems))))


def by_transformers(directory, problems, guesses=None, max_tokens=MAX_TOKENS, rows=256):
    """Greedy replies. A guess (another engine's reply) that is transformers' own first choice at every token is what
    transformers would say, which one pass shows; only the others are generated."""
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory, padding_side="left")
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    texts = [tokenizer.apply_chat_template([{"role": "user", "content": p["prompt"]}], tokenize=False, add_generation_prompt=True) for p in problems]
    results = [None] * len(problems)

    def encoded(part):
        return tokenizer(part, add_special_tokens=False, padding=True, return_tensors="pt", return_token_type_ids=False)

    def confirm(part):
        replies = [tokenizer(tasks.reply_text(guesses[i]["got_thought"], guesses[i]["got"]), add_special_tokens=False).input_ids for i in part]
        prompts = [tokenizer(texts[i], add_special_tokens=False).input_ids for i in part]
        x = tokenizer.pad({"input_ids": [p + r for p, r in zip(prompts, replies)]}, padding_side="right", return_tensors="pt")
        with torch.no_grad():
            best = model(**x).logits.argmax(-1)
        for i, p, r, choice in zip(part, prompts, replies, best.tolist()):
            if guesses[i]["stopped"] and choice[len(p) - 1 : len(p) + len(r) - 1] == r:
                results[i] = (guesses[i]["got_thought"].strip(), guesses[i]["got"].strip(), True)

    def generate(part):
        x = encoded([texts[i] for i in part])
        with torch.no_grad():
            y = model.generate(**x, do_sample=False, temperature=None, top_p=None, max_new_tokens=max_tokens, pad_token_id=2)
        for i, ids in zip(part, y[:, x.input_ids.shape[1] :].tolist()):
            stopped = 1 in ids
            text = tokenizer.decode(ids[: ids.index(1)] if stopped else ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
            thought, _, answer = text.partition("</think>")
            results[i] = (thought.strip(), answer.strip(), stopped)

    for what in [confirm] * bool(guesses) + [generate]:
        due = [i for i in range(len(problems)) if results[i] is None]
        due.sort(key=lambda i: len(problems[i]["prompt"]) + 2 * len(problems[i]["thought"]))
        for start in range(0, len(due), rows):
            what(due[start : start + rows])
            print(f"{what.__name__} {min(len(due), start + rows)} / {len(due)}", file=sys.stderr, flush=True)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--engine", default=str(Path(__file__).resolve().parents[2] / "build/release/dsr1"))
    parser.add_argument("--per-task", type=int, default=350)
    parser.add_argument("--only", help="these tasks, names separated by commas")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="programs at a time")
    parser.add_argument("--guesses", type=Path, help="for transformers: what another engine answered (its --out), to be confirmed")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    problems = [p for p in examination(args.per_task, args.seed) if not args.only or p["task"] in args.only.split(",")]
    began = time.time()
    if args.engine == "transformers":
        guesses = [json.loads(line) for line in args.guesses.open()] if args.guesses else None
        results = by_transformers(args.model, problems, guesses)
    else:
        results = by_dsr1(args.engine, args.model, problems, args.temperature, 1000 * args.seed, workers=args.workers)
    count, right, rows = {}, {}, []
    for p, (thought, answer, stopped) in zip(problems, results):
        good = stopped and answer.strip() == p["answer"]
        count[p["task"]] = count.get(p["task"], 0) + 1
        right[p["task"]] = right.get(p["task"], 0) + good
        rows.append(p | {"got_thought": thought, "got": answer.strip(), "stopped": stopped, "right": bool(good)})
    if args.out:
        args.out.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows))
    for task in count:
        print(f"{task:10s} {right[task]:5d} / {count[task]:5d}  {100 * right[task] / count[task]:6.2f} %")
    total, good = sum(count.values()), sum(right.values())
    print(f"{'all':10s} {good:5d} / {total:5d}  {100 * good / total:6.2f} %   ({args.model}, {Path(args.engine).name}, temperature {args.temperature}, {time.time() - began:.0f} s)")


if __name__ == "__main__":
    main()
