#!/usr/bin/env python3
"""Whole models on the GPU at hand: files of real shapes with random weights are written, measured and deleted, one after
the other, and each speed is held against the card's own copy rate and BF16 rate (bench_gpu measures them).

    bench_gpu_models.py --dsr1 build/gpu_check/dsr1 --copy 3000 --bf16 790
    bench_gpu_models.py --dsr1 dsr1 --model real.gguf      another file too, with nothing expected of it

Decode: bytes a token needs (weights and cache, each once) times tokens a second, of the copy rate. Prefill: operations a
token needs times tokens a second, of the BF16 rate. tools/gpu_check runs it."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
GIB = 2**30

# What is asked of a card: shape, type, layers (None: all), test, share, of which rate. Bytes of the files are about these.
CASES = [
    dict(shape="r1-distill-qwen-1.5b", type="Q8_0", gib=1.8, decode=0.55),
    dict(shape="r1-distill-llama-8b", type="Q4_K_M", gib=4.6, decode=0.70, prefill=0.50),
    dict(shape="r1-distill-llama-8b", type="F16", gib=15.0, decode=0.85),
    dict(shape="r1-671b", type="Q4_K_M", layers=6, gib=21.5, decode=0.60),
    dict(shape="r1-distill-llama-8b", type="BF16", gib=15.0, prefill=0.65),
]


def free_bytes(folder):
    s = os.statvfs(folder)
    return s.f_bavail * s.f_frsize


def work_folder(wanted):
    """Memory where it has room for the largest file, else the roomiest of the usual places."""
    places = [wanted] if wanted else ["/dev/shm", os.environ.get("TMPDIR", "/tmp"), str(HERE)]
    places = [p for p in places if os.path.isdir(p) and os.access(p, os.W_OK)]
    room = max(c["gib"] for c in CASES) * GIB
    best = next((p for p in places if free_bytes(p) > room), None) or max(places, key=free_bytes)
    folder = Path(best) / f"dsr1-speed-{os.getpid()}"
    folder.mkdir()
    return folder


def synthesize(case, out):
    command = [sys.executable, HERE / "make_synthetic.py", out, "--shape", case["shape"], "--type", case["type"]]
    if case.get("layers"):
        command += ["--layers", str(case["layers"])]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def bench(program, model, tests, device):
    command = [program, "bench", model, *tests, "-r", "3", "--probe-ms", "0", "--device", device, "-o", "jsonl"]
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if ran.returncode != 0:
        raise RuntimeError((ran.stderr.strip().splitlines() or ["no message"])[-1])
    return [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]


def llama_bench(program, model):
    command = [program, "-m", model, "-p", "512", "-n", "128", "-r", "3", "-ngl", "99", "-o", "json"]
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if ran.returncode != 0:
        return {}
    rows = json.loads(ran.stdout)
    return {"pp" if r["n_prompt"] else "tg": r["avg_ts"] for r in rows}


def percent(share, goal):
    if share is None:
        return "-"
    text = f"{100 * share:.1f} %"
    return text if goal is None else f"{text} (goal {100 * goal:.0f} %: {'met' if share >= goal else 'missed'})"


def report(name, rows, case, args, peer):
    for r in rows:
        own = r["dsr1"]
        prompt = r["n_prompt"] > 0
        speed = r["avg_ts"]
        share = goal = None
        if prompt and args.bf16 and own.get("operations_per_token"):
            share, goal = own["operations_per_token"] * speed / (args.bf16 * 1e12), case.get("prefill")
        elif not prompt and args.copy:
            share, goal = own["bytes_read_per_token"]["vram"] * speed / (args.copy * 1e9), case.get("decode")
        if r.get("n_depth"):
            goal = None
        test = f"pp{r['n_prompt']}" if prompt else f"tg{r['n_gen']}"
        if r.get("n_depth"):
            test += f" at {r['n_depth']}"
        beside = peer.get("pp" if prompt else "tg") if not r.get("n_depth") else None
        cells = [name, test, f"{speed:.1f}", percent(share, goal), f"{beside:.1f}" if beside else "-"]
        print("| " + " | ".join(cells) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsr1", required=True, help="the program")
    parser.add_argument("--copy", type=float, help="GB/s of copies on this card, read and written")
    parser.add_argument("--bf16", type=float, help="TFLOP/s of BF16 products on this card")
    parser.add_argument("--model", action="append", default=[], help="a model file to measure too")
    parser.add_argument("--llama-bench", help="llama.cpp's llama-bench, for the same files")
    parser.add_argument("--work", help="folder for the files (default: /dev/shm, TMPDIR or here, whichever has room)")
    parser.add_argument("--seconds", type=float, default=540, help="start no further model after this time")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--results", type=Path, help="append every row of dsr1 bench to this file, as JSON lines")
    parser.add_argument("--tiny", action="store_true", help="one layer of each shape: for trying this script")
    args = parser.parse_args()

    begin, failed, last = time.monotonic(), False, 0.0
    print("| model (random weights) | test | tokens/s | of this card's copy or BF16 rate | llama.cpp |\n|---|---|--:|---|--:|", flush=True)
    work = work_folder(args.work)
    try:
        cases = [*CASES, *(dict(file=m) for m in args.model)]
        for case in cases:
            name = Path(case["file"]).name if "file" in case else f"{case['shape']} {case['type']}"
            if args.tiny and "shape" in case:
                case = {**case, "layers": 1, "gib": 2}
            if case.get("layers"):
                name += f", {case['layers']} layers"
            # The next is at most about twice the largest so far.
            if args.seconds - (time.monotonic() - begin) < max(30.0, 1.3 * last):
                print(f"| {name} | not run: no time left | | | |", flush=True)
                continue
            if "gib" in case and free_bytes(work) < case["gib"] * GIB:
                print(f"| {name} | not run: {free_bytes(work) / GIB:.0f} GiB free in {work.parent} | | | |", flush=True)
                continue
            started = time.monotonic()
            path = Path(case["file"]) if "file" in case else work / "model.gguf"
            try:
                if "file" not in case:
                    synthesize(case, path)
                rows = bench(args.dsr1, path, ["-p", "512,2048", "-n", "0"], args.device) if case.get("prefill") or "file" in case else []
                if case.get("decode") or "file" in case:
                    rows += bench(args.dsr1, path, ["-p", "0", "-n", "128", "-d", "0,8192"], args.device)
                peer = llama_bench(args.llama_bench, path) if args.llama_bench else {}
                if args.results:
                    with args.results.open("a") as f:
                        f.writelines(json.dumps(r) + "\n" for r in rows)
                report(name, rows, case, args, peer)
            except (RuntimeError, subprocess.CalledProcessError, OSError, KeyError) as e:
                said = e.stderr.strip().splitlines()[-1] if isinstance(e, subprocess.CalledProcessError) and e.stderr else e
                print(f"| {name} | **FAILED**: {said} | | | |", flush=True)
                failed = True
            finally:
                if "file" not in case and path.exists():
                    path.unlink()
            last = max(last, time.monotonic() - started)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
