#!/usr/bin/env python3
"""How far a fast path stands from the truth: the model file's own weights, dequantized, in float32.

    tools/fidelity MODEL.gguf [--text FILE] [--engine ENGINE...]

A table over the windows of llama-perplexity (512 tokens; default text: Debian's GPL-3, 35,149 bytes): perplexity, mean
KL divergence from the truth in nats a token, share of top-1 picks changed. Engines:
    cpu          dsr1's default CPU path           (cpu:OPTIONS passes more, as in "cpu:--cpu-isa avx2")
    llama        llama.cpp as it comes             (needs LLAMA_CPP, a built tree)
    llama-f32    llama.cpp over the file dequantized to float32, float32 cache: a second opinion about the truth
The truth is `dsr1 --device ref`; with --truth llama-f32 it is llama.cpp's, which needs no dsr1."""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).with_name("oracle")))
import numpy as np  # noqa: E402
import oracle  # noqa: E402

GPL3 = "/usr/share/common-licenses/GPL-3"


def dequantized(model):
    """The same model with every tensor in float32, made once by gguf's own decoders into the temporary folder."""
    import gguf

    digest = hashlib.sha256(Path(model).resolve().as_posix().encode() + str(Path(model).stat().st_mtime_ns).encode()).hexdigest()[:16]
    out = Path(tempfile.gettempdir()) / f"dsr1_fidelity_{os.getuid()}_{digest}.gguf"
    if out.exists():
        return out
    reader = gguf.GGUFReader(model)
    writer = gguf.GGUFWriter(str(out) + ".part", reader.get_field("general.architecture").contents())
    for key, field in reader.fields.items():
        if not key.startswith("GGUF.") and key not in ("general.architecture", "general.file_type", "general.quantization_version"):
            kind = field.types[0]
            writer.add_key_value(key, field.contents(), kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, values.reshape([int(d) for d in tensor.shape[::-1]]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(str(out) + ".part", out)
    return out


def windows_of(model, text):
    """llama.cpp's own windows, for its engines; dsr1 makes the same ones itself."""
    import gguf

    fields = gguf.GGUFReader(model).fields
    add_bos = fields.get("tokenizer.ggml.add_bos_token")
    pre = fields.get("tokenizer.ggml.pre")
    adds = bool(add_bos.contents()) if add_bos else bool(pre and pre.contents() in ("llama-bpe", "llama3", "llama-v3"))
    bos = int(fields["tokenizer.ggml.bos_token_id"].contents()) if adds else None
    return oracle.llama_tokenize(model, text), bos


def rows_of(engine, model, text, n_ctx, threads, overrides=()):
    name, _, options = engine.partition(":")
    if name in ("cpu", "ref"):
        return oracle.dsr1_perplexity(model, text, n_ctx, "--device", name, *options.split())[0]
    ids, bos = windows_of(model, text)
    windows = oracle.cut(ids, n_ctx, bos)
    if name == "llama":
        return oracle.llama_logits(model, windows, cache="f16", threads=threads, overrides=overrides)
    if name == "llama-f32":
        return oracle.llama_logits(dequantized(model), windows, cache="f32", threads=threads, overrides=overrides)
    raise SystemExit(f"unknown engine {engine}; known: cpu, ref, llama, llama-f32")


def scored_ids(model, text, n_ctx, dsr1_has_run):
    if dsr1_has_run:  # then nothing of llama.cpp is needed
        command = [os.environ.get("DSR1", oracle.DSR1), "tokenize", model, "-f", text, "--ids"]
        ids = [int(i) for i in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()]
        return oracle.targets(oracle.cut(ids, n_ctx, None))  # a window's first token is never a target
    return oracle.targets(oracle.cut(windows_of(model, text)[0], n_ctx, None))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--text", default=GPL3)
    parser.add_argument("-c", "--ctx", type=int, default=512)
    parser.add_argument("-t", "--threads", type=int, default=os.cpu_count())
    parser.add_argument("--truth", default="ref")
    parser.add_argument("--engine", action="append", help="default: cpu, and llama where LLAMA_CPP is set")
    parser.add_argument("--option", action="append", default=[], help="KEY=INT, metadata as llama.cpp is to see them")
    args = parser.parse_args()
    engines = args.engine or ["cpu"] + (["llama"] if os.environ.get("LLAMA_CPP") else [])

    truth = rows_of(args.truth, args.model, args.text, args.ctx, args.threads, args.option)
    target = scored_ids(args.model, args.text, args.ctx, args.truth.startswith(("ref", "cpu")))
    if len(target) != len(truth):
        raise SystemExit(f"{len(truth)} rows of logits for {len(target)} scored tokens")
    true_nll, picks = oracle.nll(truth, target), truth.argmax(axis=1)
    print(f"{Path(args.model).name}, {Path(args.text).name}, {len(target)} scored tokens in windows of {args.ctx}\n")
    print("| engine | perplexity | mean KL to truth | largest KL | top-1 changed | seconds |")
    print("|---|---|---|---|---|---|")
    print(f"| truth ({args.truth}) | {np.exp(true_nll.mean()):.4f} | | | | |")
    for engine in engines:
        begin = time.monotonic()
        rows = rows_of(engine, args.model, args.text, args.ctx, args.threads, args.option)
        seconds = time.monotonic() - begin
        if rows.shape != truth.shape:
            raise SystemExit(f"{engine} gave {rows.shape}, the truth has {truth.shape}")
        kl = oracle.kl_divergence(truth, rows)
        changed = (rows.argmax(axis=1) != picks).mean()
        ppl = np.exp(oracle.nll(rows, target).mean())
        print(f"| {engine} | {ppl:.4f} | {kl.mean():.6f} | {kl.max():.4f} | {100 * changed:.2f} % | {seconds:.0f} |")


if __name__ == "__main__":
    main()
