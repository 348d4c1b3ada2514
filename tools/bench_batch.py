#!/usr/bin/env python3
"""Throughput of `dsr1 batch`: the same rows one at a time and several at once.

    tools/bench_batch.py MODEL [--rows 16] [--prompt 128] [--answer 64] [--at-once 1,16] [--rounds 1] [-t N]

Prompts are random token ids without common beginnings, answers run to their limit; top-k 40, since the flat
distributions of random weights would make top-p sort the whole vocabulary. Prints a Markdown table; seconds are
those of the batch itself (OUT.stats.jsonl), loading left out: medians over the rounds, the ratio that of the rounds'
own. The answers must be the same bytes each time.
"""
import argparse
import json
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile

REPO = pathlib.Path(__file__).resolve().parent.parent


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--rows", type=int, default=16)
    p.add_argument("--prompt", type=int, default=128)
    p.add_argument("--answer", type=int, default=64)
    p.add_argument("--at-once", default="1,16")
    p.add_argument("--rounds", type=int, default=1)
    p.add_argument("-t", "--threads", default="2")
    p.add_argument("--dsr1", default=str(REPO / "build/release/dsr1"))
    a = p.parse_args()

    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as tmp:
        source = pathlib.Path(tmp) / "in.jsonl"
        with source.open("w") as f:
            for i in range(a.rows):
                ids = [rng.randrange(100, 200) if j else i + 100 for j in range(a.prompt)]
                f.write(json.dumps({"custom_id": str(i), "url": "/v1/completions",
                                    "body": {"prompt": ids, "max_tokens": a.answer}}) + "\n")
        runs, answers = {}, set()
        for r in range(a.rounds):
            for n in [int(x) for x in a.at_once.split(",")]:
                out = pathlib.Path(tmp) / f"out-{n}-{r}.jsonl"
                subprocess.run([a.dsr1, "batch", "-i", str(source), "-o", str(out), "-np", str(n), "-t", a.threads,
                                "-c", str(a.prompt + a.answer + 16), "--seed", "1", "--top-k", "40", "--ignore-eos", "--no-loop-check",
                                a.model], check=True)
                stats = [json.loads(line) for line in out.with_name(out.name + ".stats.jsonl").open()]
                summary = stats[-1]["summary"]
                answers.add("".join(sorted(out.open())))
                print(f"{n} at once: {json.dumps(summary)}", file=sys.stderr, flush=True)
                runs.setdefault(n, []).append(summary)
    if len(answers) != 1:
        sys.exit("bench_batch: the answers differ between runs")
    first = runs[min(runs)]
    print("| at once | seconds | tokens a second | generated a second | against one at a time |")
    print("|--:|--:|--:|--:|--:|")
    for n, rounds in sorted(runs.items()):
        seconds = statistics.median(s["seconds"] for s in rounds)
        total, made = rounds[0]["prompt_tokens"] + rounds[0]["completion_tokens"], rounds[0]["completion_tokens"]
        ratio = statistics.median(one["seconds"] / s["seconds"] for one, s in zip(first, rounds))
        print(f"| {n} | {seconds:.1f} | {total / seconds:.1f} | {made / seconds:.1f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
