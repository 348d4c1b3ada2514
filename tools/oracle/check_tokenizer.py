#!/usr/bin/env python3
"""Compares dsr1's token ids with those of Hugging Face `tokenizers`, text by text, on real vocabularies.

  python3 tools/oracle/check_tokenizer.py [--strings 1000000] [--seed 1] [--only NAME] [--gguf FILE]...

Needs: pip install tokenizers==0.23.3, a built tokenize_driver, and the shared data folder (see docs/testing.md).
For each vocabulary: every Unicode scalar, alone and between neighbours; random strings (valid UTF-8 of all planes, code,
Chinese, numbers, white space, combining marks, look-alikes of special tokens); a few MB of real text whole; and decode.
Ends with 1 at the first difference, which it prints, or with one line per vocabulary.

`--gguf FILE` adds a GGUF file whose `pre` is "smollm" or "gpt-2" (SmolLM2 is one). There the oracle is `tokenizers`
set up as the model's own tokenizer.json is (numbers one by one, then GPT-2's expression), with the byte symbols that the
vocabulary lacks added and their ids filtered out, which is what llama.cpp does with them. Where LLAMA_CPP names a built
llama.cpp tree, such a file is also compared with llama.cpp itself; texts may differ there only if they hold a character
that came with Unicode 15 or 16, which `tokenizers` (and dsr1) know and llama.cpp does not.
"""
import argparse
import glob
import json
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import time
import unicodedata

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import dump_vocab  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
GPT2_BYTES = [chr(b) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174 else None for b in range(256)]
for i, b in enumerate([b for b in range(256) if GPT2_BYTES[b] is None]):
    GPT2_BYTES[b] = chr(256 + i)


class Case:
    def __init__(self, name, dump, oracle, unknown_from=None, gguf=None):
        self.name, self.dump, self.oracle, self.unknown_from, self.gguf = name, dump, oracle, unknown_from, gguf

    def ids(self, texts):
        out = [e.ids for e in self.oracle.encode_batch(texts, add_special_tokens=False)]
        if self.unknown_from is not None:
            out = [[i for i in ids if i < self.unknown_from] for ids in out]
        return out


def qwen_tokenizer(vocab):
    """An oracle for a GGUF of the qwen2 splitter: its vocabulary in Qwen's own pipeline, without the normalizer."""
    types, tokens = vocab["types"], vocab["tokens"]
    model = models.BPE({t: i for i, t in enumerate(tokens) if types[i] == 1}, vocab["merges"])
    t = Tokenizer(model)
    pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
               r"\s+(?!\S)|\s+")
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return t, types, tokens


def add_specials(t, tokens, types):
    # Ids follow from the order of adding, so every special must continue the vocabulary.
    for i, text in enumerate(tokens):
        if types[i] in (3, 4):
            assert t.add_tokens([AddedToken(text, normalized=False, special=types[i] == 3)]) in (0, 1)
            assert t.token_to_id(text) == i, (text, i, t.token_to_id(text))


def cases(args, work):
    def dumped(name, vocab):
        path = str(work / f"{name}.vocab")
        dump_vocab.write(vocab, path)
        return path

    for name, pre in [("deepseek_v3", "deepseek-v3"), ("llama3_1", "llama-bpe"), ("qwen3", "qwen2")]:
        path = DATA / "tokenizers" / f"{name}.tokenizer.json.gz"
        raw = dump_vocab.read_bytes(path)
        yield Case(name, dumped(name, dump_vocab.from_tokenizer_json(path, pre)), Tokenizer.from_str(raw.decode()))
    path = ROOT / "models" / "r1-nano" / "safetensors" / "tokenizer.json"
    yield Case("r1_nano", dumped("r1_nano", dump_vocab.from_tokenizer_json(path, "deepseek-v3")), Tokenizer.from_file(str(path)))
    path = DATA / "gguf" / "r1_distill_qwen_7b.q4_k_m.header.gguf.gz"
    vocab = dump_vocab.from_gguf(path)
    t, types, tokens = qwen_tokenizer(vocab)
    add_specials(t, tokens, types)
    yield Case("r1_distill_qwen", dumped("r1_distill_qwen", vocab), t)
    for path in args.gguf:
        vocab = dump_vocab.from_gguf(path)
        tokens, types = vocab["tokens"], vocab["types"]
        n = len(tokens)
        table = {text: i for i, text in enumerate(tokens)}
        for b in GPT2_BYTES:
            table.setdefault(b, len(table))
        t = Tokenizer(models.BPE(table, vocab["merges"]))
        splits = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
        if vocab["pre"] == "smollm":
            # Not Digits: that takes its numbers from Rust's Unicode tables, a version later than those of \p{N}.
            splits.insert(0, pre_tokenizers.Split(Regex(r"\p{N}"), "isolated"))
        else:
            assert vocab["pre"] == "gpt-2", vocab["pre"]
        t.pre_tokenizer = pre_tokenizers.Sequence(splits)
        t.add_tokens([AddedToken(tokens[i], normalized=False) for i in range(n) if types[i] in (3, 4)])
        name = pathlib.Path(path).stem
        yield Case(name, dumped(name, vocab), t, unknown_from=n, gguf=path)


def ask(driver, dump, op, payloads):
    with tempfile.TemporaryFile() as f:
        for p in payloads:
            f.write(op + struct.pack("<I", len(p)) + p)
        f.seek(0)
        out = subprocess.run([driver, dump], stdin=f, stdout=subprocess.PIPE, check=True).stdout
    at, answers = 0, []
    for _ in payloads:
        n = struct.unpack_from("<I", out, at)[0]
        size = n if op == b"d" else 4 * n
        answers.append(out[at + 4:at + 4 + size])
        at += 4 + size
    assert at == len(out)
    return answers


def compare(driver, case, texts, what):
    ours = ask(driver, case.dump, b"a", [t.encode() for t in texts])
    for text, got, want in zip(texts, ours, case.ids(texts)):
        got = list(struct.unpack(f"<{len(got) // 4}i", got))
        if got != want:
            where = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
            context = case.oracle.decode(want[max(0, where - 5):where + 5], skip_special_tokens=False)
            sys.exit(f"{case.name}, {what}: differs at token {where} near {context!r}\n text {text[:300]!r}\n"
                     f" dsr1 {got[max(0, where - 5):where + 10]}\n  hf  {want[max(0, where - 5):where + 10]}")
    return ours


def compare_decode(driver, case, texts, ids, normalize):
    back = ask(driver, case.dump, b"d", ids)
    for text, got in zip(texts, back):
        want = normalize(text) if normalize else text
        if got != want.encode():
            sys.exit(f"{case.name}: decode(encode(x)) is {got[:200]!r} for {text[:200]!r}")


def llama_driver(work):
    tree = os.environ.get("LLAMA_CPP")
    if not tree:
        return None
    out = str(work / "llama_ids")
    subprocess.run(["g++", "-O2", "-std=c++17", f"-I{tree}/include", f"-I{tree}/ggml/include",
                    str(pathlib.Path(__file__).with_name("llama_ids.cpp")), "-o", out, f"-L{tree}/build/bin", "-lllama",
                    "-lggml", "-lggml-base", f"-Wl,-rpath,{tree}/build/bin"], check=True)
    return out


def compare_llama(driver, helper, case, scalars, args):
    """Ours against llama.cpp's, on the file itself."""
    new = set()  # characters younger than Unicode 14, whose classes llama.cpp lacks
    for pattern in (r"\p{L}", r"\p{N}", r"\p{P}", r"\p{S}", r"\p{M}"):
        split = pre_tokenizers.Split(Regex(pattern), "removed")
        new |= {c for c in scalars if unicodedata.category(c) == "Cn" and not split.pre_tokenize_str(c)}
    r = random.Random(args.seed + 1)
    specials = [t.content for t in case.oracle.get_added_tokens_decoder().values()]
    random_texts = [random_text(r, specials) for _ in range(args.strings // 5)]
    excused = 0
    for texts in (scalars, [f"a{c}b" for c in scalars], [f" {c}{c}1" for c in scalars], random_texts, real_texts(6_000_000)[0]):
        payloads = [t.encode() for t in texts]
        for text, a, b in zip(texts, ask(driver, case.dump, b"a", payloads), ask(helper, case.gguf, b"a", payloads)):
            if a == b:
                continue
            if not new.intersection(text):
                sys.exit(f"{case.name}: llama.cpp differs for {text[:300]!r}")
            excused += 1
    print(f"{case.name}: the same with llama.cpp, {len(random_texts)} random strings; {excused} differ, all with characters "
          "younger than its Unicode tables", flush=True)


WORDS = ("the quick brown fox don't I'LL we've it's can'T 'sS return int main void class def self import naïve café "
         "straße Привет мир Ελλάδα שלום مرحبا हिन्दी 한국어 日本語 カタカナ ひらがな 你好 世界 人工智能 模型 的 ſ 'ſt K Å").split(" ")
CODE = list("(){}[]<>=+-*/%&|^~!?.,:;@#$\\\"'`_") + ["->", "::", "==", "//", "/*", "*/", "</", "{\n", "}\n", ";\r\n"]
SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", " \n", "\u00a0", "\u3000", "\u2028", "\u0085", "\u200b", "\ufeff",
          "\u180e", "\x0b", "\x0c", "\x1c", "\x1f", " " * 30]
LOOKALIKES = ["<|", "|>", "<｜", "｜>", "<think>", "</think>", "<think", "</ｔhink>", "<｜User|>", "<|User|>", "▁", "<", ">",
              "<｜begin▁of▁sentence", "<|im_start|>", "<|eot_id|", "<|endoftext|>", "[PAD1]", "<unk>", "</s>"]
MARKS = [chr(c) for c in list(range(0x300, 0x370)) + [0x338, 0x93C, 0x9BE, 0xDCF, 0x1161, 0x11A8, 0x3099, 0x11930, 0x1133E]]
BASES = [chr(c) for c in [0x41, 0x65, 0x6F, 0x3C, 0x3E, 0x3D, 0x915, 0x9C7, 0xDD9, 0x1100, 0xAC00, 0x304B, 0x11935, 0x212B]]


def random_text(r, specials):
    def scalar(low, high):
        c = r.randrange(low, high)
        return chr(c) if not 0xD800 <= c < 0xE000 else "a"

    kinds = [
        lambda: scalar(0, 0x110000), lambda: scalar(0, 0x110000), lambda: scalar(0, 0x3000),
        lambda: scalar(0x10000, 0x20000), lambda: scalar(0x20, 0x7F), lambda: scalar(0, 0x100),
        lambda: r.choice(WORDS), lambda: " " + r.choice(WORDS), lambda: r.choice(CODE), lambda: r.choice(CODE),
        lambda: "".join(scalar(0x4E00, 0xA000) for _ in range(r.randrange(1, 6))), lambda: scalar(0x3000, 0x3100),
        lambda: str(r.randrange(10 ** r.randrange(1, 12))), lambda: scalar(0x660, 0x66A), lambda: r.choice(SPACES),
        lambda: r.choice(SPACES) * r.randrange(1, 4), lambda: r.choice(LOOKALIKES), lambda: r.choice(specials),
        lambda: r.choice(BASES) + "".join(r.choice(MARKS) for _ in range(r.randrange(0, 4))),
        lambda: scalar(0xAC00, 0xD7A4), lambda: scalar(0x1F300, 0x1FB00), lambda: "'" + r.choice("stmdSTMDſ"),
    ]
    chosen = r.sample(kinds, r.randrange(1, 6))
    return "".join(r.choice(chosen)() for _ in range(r.randrange(1, 13)))


def real_texts(limit):
    paths = sorted(glob.glob("/usr/share/common-licenses/*"))
    paths += sorted(glob.glob("/usr/lib/python3*/**/*.py", recursive=True))[::7]
    paths += sorted(glob.glob("/usr/share/doc/*/copyright"))[::5]
    paths += sorted(str(p) for p in (ROOT.parent / "shared").glob("**/*.md"))
    texts, total = [], 0
    for p in reversed(paths):
        try:
            text = pathlib.Path(p).read_bytes().decode()
        except (OSError, UnicodeDecodeError):
            continue
        texts.append(text)
        total += len(text.encode())
        if total > limit:
            break
    return texts, total


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strings", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="a part of a vocabulary's name")
    parser.add_argument("--gguf", action="append", default=[])
    parser.add_argument("--driver", default=str(ROOT / "build/release/tests/support/tokenize_driver"))
    args = parser.parse_args()
    if not DATA.exists():
        print(f"skipped: {DATA} is not here")
        return
    scalars = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        helper = llama_driver(work) if args.gguf else None
        for case in cases(args, work):
            if args.only and args.only not in case.name:
                continue
            start = time.time()
            normalize = case.oracle.normalizer.normalize_str if case.oracle.normalizer else None
            for what, texts in [("every scalar", scalars), ("every scalar between letters", [f"a{c}b" for c in scalars]),
                                ("every scalar after a space", [f" {c}{c}1" for c in scalars])]:
                ids = compare(args.driver, case, texts, what)
                if case.unknown_from is None:
                    compare_decode(args.driver, case, texts, ids, normalize)
            specials = [t.content for t in case.oracle.get_added_tokens_decoder().values()]
            r = random.Random(args.seed)
            done = 0
            while done < args.strings:
                texts = [random_text(r, specials) for _ in range(min(50_000, args.strings - done))]
                ids = compare(args.driver, case, texts, f"random strings from {done}")
                if case.unknown_from is None:
                    compare_decode(args.driver, case, texts, ids, normalize)
                done += len(texts)
            texts, total = real_texts(6_000_000)
            compare(args.driver, case, texts, "real text")
            t = time.time()
            for text in texts:
                case.oracle.encode(text, add_special_tokens=False)
            hf = total / 1e6 / (time.time() - t)
            with tempfile.NamedTemporaryFile() as f:
                f.write("".join(texts).encode())
                f.flush()
                ours = json.loads(subprocess.run([args.driver, case.dump, "--time", f.name], capture_output=True,
                                                 check=True).stdout)
            print(f"{case.name}: {len(scalars)} scalars x 3, {done} random strings (seed {args.seed}), {total} bytes of "
                  f"real text: ids identical to tokenizers {tokenizers.__version__}; create {ours['create_ms']} ms, "
                  f"{ours['mb_per_s']} MB/s (tokenizers, one thread: {hf:.1f}); {time.time() - start:.0f} s", flush=True)
            if case.gguf and helper:
                compare_llama(args.driver, helper, case, scalars, args)


main()
