#!/usr/bin/env python3
"""Trains r1-nano or r1-nano-distill; goes on from WORK/NAME.pt if that is there.

    train.py r1-nano --work WORK [--tokens 24e6] [--processes 2] [--seed 1]
    train.py r1-nano-distill --work WORK --teacher WORK/r1-nano.pt [...]

The schedule counts tokens, never seconds, and every batch follows from the seed, so a run that is stopped and started
again (any number of processes) sees what an unbroken one sees. Now and then each task is examined on fresh problems of
the training side; tasks that lag get more of the next batches. In the second half a problem whose whole solution the
model would write almost surely is mostly left out: what is left is what sampling would get wrong.

The distill learns what its teacher says, as R1's distills did. What a teacher says greedily can be seen in one pass
over the worked solution: where its first choice is the solution's token at every place, that solution is its own output,
is right, and is learned from; where not, the problem is left out (rejection sampling)."""

import argparse
import math
import os
import random
import re
import time
from pathlib import Path

import export
import nano
import optim
import tasks
import torch
import torch.distributed as dist
import torch.nn.functional as F
from tokenizers import Tokenizer

MICRO = 4096  # padded tokens of one batch
MICROS = 2  # batches a step, spread over the processes
# Widths of batches: few, since a CPU's matrix library compiles a kernel for each shape it meets.
WIDTHS = [32, 48, 64, 80, 96, 112, 128, 160, 192, 256, 384, 512]
ROUND = 256  # tokens that go into the head come in multiples of this
POOL = 4096  # problems that are sorted by length together
IGNORE = -100


class Encoder:
    def __init__(self, path):
        self.tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
        tasks.pieces = self.pieces

    def pieces(self, prompt, word):
        start = [m.start() for m in re.finditer(rf"(?<![a-z]){word}(?![a-z])", prompt)][-1]
        spans = [(a, b) for a, b in self.tokenizer.encode(prompt, add_special_tokens=False).offsets if b > start and a < start + len(word)]
        return [prompt[a:b].lstrip("\"'") for a, b in spans]

    def __call__(self, prompt, reply):
        """ids and labels; `<think>\\n` belongs to the labels too, so that the model also opens a thought unasked."""
        p = self.tokenizer.encode(prompt, add_special_tokens=False).ids
        r = self.tokenizer.encode(reply, add_special_tokens=False).ids
        ids = p + r
        n = len(p) - 2
        return ids[:-1], [IGNORE] * (n - 1) + ids[n:]


def problems_of_pool(seed, pool, extra):
    r = random.Random(f"turns:{seed}:{pool}")
    stream = tasks.stream("train", f"{seed}:{pool}", extra)
    for _ in range(POOL):
        name, prompt, thought, answer = next(stream)
        history = []
        if r.random() < 0.06:  # a second turn
            _, q, _, a = next(stream)
            history = [(q, r.choice(["\n\n", ""]) + a)]
        yield name, tasks.prompt_text(prompt, history), tasks.reply_text(thought, answer)


def batches(examples, shuffle):
    """Batches of similar lengths in one of few shapes, padded; rows that fill up the last one hold nothing to learn."""
    by_width = {}
    for e in examples:
        by_width.setdefault(next(w for w in WIDTHS if w >= len(e[0])), []).append(e)
    out = []
    for width, group in sorted(by_width.items()):
        n = MICRO // width
        if shuffle is not None:
            shuffle.shuffle(group)
        for start in range(0, len(group), n):
            rows = group[start : start + n]
            if shuffle is not None and len(rows) < n // 2:
                continue  # of a pool's few last ones
            ids, labels = torch.full((n, width), 2), torch.full((n, width), IGNORE)
            for i, (x, y) in enumerate(rows):
                ids[i, : len(x)] = torch.tensor(x)
                labels[i, : len(y)] = torch.tensor(y)
            out.append((ids, labels))
    if shuffle is not None:
        shuffle.shuffle(out)
    return out


def cross_entropy(head, h, labels):
    """Over the labelled tokens alone, which are filled up to a multiple of ROUND with ones that count nothing."""
    labels = labels.reshape(-1)
    index = (labels != IGNORE).nonzero()[:, 0]
    filled = F.pad(index, (0, -index.numel() % ROUND))
    target = F.pad(labels[index], (0, filled.numel() - index.numel()), value=IGNORE)
    return F.cross_entropy(head(h.reshape(-1, h.shape[-1]).index_select(0, filled)).float(), target, ignore_index=IGNORE)


def loss_of(model, ids, labels):
    h = model.hidden(ids)
    loss = cross_entropy(model.head, h, labels)
    if model.mtp is None:
        return loss, loss.detach()
    # Every fourth row: state at t and token t+1 guess token t+2. The last column has no such token.
    after = F.pad(labels[::4, 1:], (0, 1), value=IGNORE)
    guess = model.mtp(h[::4], model.embed(F.pad(ids[::4, 1:], (0, 1), value=2)), model.rope)
    return loss + 0.3 * cross_entropy(model.head, guess, after), loss.detach()


@torch.no_grad()
def accepted(teacher, ids, labels):
    """Labels with the rows taken out that are not the teacher's own greedy reply."""
    said = ((teacher(ids).argmax(-1) == labels) | (labels == IGNORE)).all(1)
    if not said.any():
        return labels
    return labels.masked_fill(~said[:, None], IGNORE)


@torch.no_grad()
def doubtful(model, examples, below, rank, n_ranks, device, bf16):
    """Which replies the model would not give almost surely: those with a token whose probability is less than `below`."""
    order = sorted(range(len(examples)), key=lambda i: len(examples[i][0]))
    unsure, start, turn = torch.zeros(len(examples)), len(order), 0
    while start > 0:  # the longest first: they say how wide a batch is
        width = next(w for w in WIDTHS if w >= len(examples[order[start - 1]][0]))
        part = order[max(0, start - MICRO // width) : start]
        start, turn = start - len(part), turn + 1
        if turn % n_ranks != rank:
            continue
        ids, labels = torch.full((len(part), width), 2, device=device), torch.full((len(part), width), IGNORE, device=device)
        for row, i in enumerate(part):
            x, y = examples[i]
            ids[row, : len(x)], labels[row, : len(y)] = torch.tensor(x), torch.tensor(y)
        at = (labels != IGNORE).nonzero(as_tuple=True)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            logits = model.head(model.hidden(ids)[at]).float()
        rows = at[0][-F.cross_entropy(logits, labels[at], reduction="none") < math.log(below)].unique()
        unsure[[part[row] for row in rows.tolist()]] = 1
    if n_ranks > 1:
        dist.all_reduce(unsure)
    return unsure.bool().tolist()


@torch.no_grad()
def examine(model, encode, chosen, per_task, rank, n_ranks, device, bf16):
    """Share of fresh problems whose whole reply is the most likely token each time, by task."""
    right = torch.zeros(len(chosen))
    model.eval()
    for i, task in enumerate(chosen):
        if i % n_ranks != rank:
            continue
        stream = tasks.stream("train", "dev", only=task)
        examples = []
        for _ in range(per_task):
            _, prompt, thought, answer = next(stream)
            examples.append(encode(tasks.prompt_text(prompt), tasks.reply_text(thought, answer)))
        for ids, labels in batches(examples, None):
            ids, labels = ids.to(device), labels.to(device)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
                best = model(ids).argmax(-1)
            right[i] += (((best == labels) | (labels == IGNORE)).all(1) & (labels != IGNORE).any(1)).sum().item()
    model.train()
    if n_ranks > 1:
        dist.all_reduce(right)
    return {task: right[i].item() / per_task for i, task in enumerate(chosen)}


def schedule(done, total, decay):
    warm = min(1.0, done / 500e3 + 0.02)
    return warm * min(1.0, max(0.0, (total - done) / (decay * total)))


def worker(rank, args):
    torch.set_num_threads(args.threads)
    if args.processes > 1:
        dist.init_process_group("gloo", init_method=f"file://{args.meeting}", rank=rank, world_size=args.processes)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encode = Encoder(args.tokenizer)
    model = nano.build(args.name, args.seed).to(device)
    opt = optim.Optimizer(model, args.muon_lr, args.adam_lr)
    state = {"tokens": 0, "step": 0, "pool": 0, "next": 0, "extra": {}, "pool_extra": {}, "kept": None, "history": []}
    file = args.work / f"{args.name}.pt"
    if file.exists():
        saved = torch.load(file, map_location=device, weights_only=True)
        model.load_state_dict(saved["model"])
        opt.load_state_dict(saved["optimizer"])
        state |= saved["state"]
    elif args.init:
        export.load_into(model, args.init)
    chosen = args.tasks.split(",") if args.tasks else list(tasks.TASKS)
    teacher = None
    if args.teacher:
        teacher = nano.build("r1-nano", 0).to(device).eval()
        teacher.load_state_dict(torch.load(args.teacher, map_location=device, weights_only=True)["model"])
    say = print if rank == 0 else lambda *a, **k: None
    n_params = sum(p.numel() for p in model.parameters())
    say(f"{args.name}: {n_params:,} parameters, {args.tokens / 1e6:.1f} M tokens, from {state['tokens'] / 1e6:.2f} M", flush=True)
    pool, began, began_tokens, saved_at, smooth = None, time.time(), state["tokens"], time.time(), None

    def see():
        marks = examine(model, encode, chosen, args.examine, rank, args.processes, device, args.bf16)
        state["extra"] = {t: 0.3 + 2.7 * (1 - mark) for t, mark in marks.items()}
        state["history"].append([state["step"], state["tokens"], smooth, marks])
        say("  " + " ".join(f"{t} {100 * mark:.0f}" for t, mark in marks.items()) + f" | mean {100 * sum(marks.values()) / len(marks):.1f}", flush=True)
        for m in model.moes():
            m.load = None

    def save():
        if rank == 0:
            data = {"model": model.state_dict(), "optimizer": opt.state_dict(), "state": state}
            torch.save(data, file.with_suffix(".tmp"))
            os.replace(file.with_suffix(".tmp"), file)

    if not state["step"]:
        see()
        state["pool_extra"] = state["extra"]
    while state["tokens"] < args.tokens:
        if pool is None:
            r = random.Random(f"known:{args.seed}:{state['pool']}")
            factors = {t: state["pool_extra"].get(t, 1.0) if t in chosen else 0.0 for t in tasks.TASKS}
            examples = [encode(p, q) for _, p, q in problems_of_pool(args.seed, state["pool"], factors)]
            if state["tokens"] >= args.doubt_from * args.tokens:
                if state["kept"] is None:
                    unsure = doubtful(model, examples, args.sure, rank, args.processes, device, args.bf16)
                    state["kept"] = [i for i, u in enumerate(unsure) if u or r.random() < args.known]
                    say(f"  pool {state['pool']}: {sum(unsure)} of {len(unsure)} in doubt", flush=True)
                    for m in model.moes():
                        m.load = None
                examples = [examples[i] for i in state["kept"]]
            pool = batches(examples, random.Random(f"pool:{args.seed}:{state['pool']}"))
        if state["next"] + MICROS > len(pool):
            state["pool"], state["next"], state["kept"], pool = state["pool"] + 1, 0, None, None
            state["pool_extra"] = state["extra"]
            continue
        micros = pool[state["next"] : state["next"] + MICROS]
        lr = schedule(state["tokens"], args.tokens, args.decay)
        shown = torch.zeros(1)
        for ids, labels in micros[rank :: args.processes]:
            ids, labels = ids.to(device), labels.to(device)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=args.bf16):
                if teacher:
                    labels = accepted(teacher, ids, labels)
                loss, plain = loss_of(model, ids, labels)
            (loss / MICROS).backward()
            shown += plain.cpu() / MICROS
        moes = model.moes()
        if args.processes > 1:
            grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in model.parameters()]
            flat = torch.cat([g.reshape(-1) for g in grads] + [m.load.float() for m in moes] + [shown])
            dist.all_reduce(flat)
            at = 0
            for p, g in zip(model.parameters(), grads):
                p.grad = flat[at : at + g.numel()].view_as(g)
                at += g.numel()
            for m in moes:
                m.load = flat[at : at + m.load.numel()]
                at += m.load.numel()
            shown = flat[at:]
        norm = opt.step(lr)
        for m in moes:  # DeepSeek-V3's balance without a loss: busy experts are chosen a little less
            load = m.load.float()
            m.bias += args.balance * lr * torch.sign(load.mean() - load)
            m.load = None
        state["tokens"] += sum(ids.numel() for ids, _ in micros)
        state["next"] += MICROS
        state["step"] += 1
        smooth = shown.item() if smooth is None else 0.95 * smooth + 0.05 * shown.item()
        if state["step"] % 10 == 0:
            speed = (state["tokens"] - began_tokens) / (time.time() - began)
            left = (args.tokens - state["tokens"]) / speed
            say(f"step {state['step']} tokens {state['tokens'] / 1e6:.2f}M loss {smooth:.4f} norm {norm:.2f} lr {lr:.2f} {speed:.0f} tok/s, {left / 60:.0f} min left", flush=True)
        if state["step"] % args.examine_every == 0:
            see()
        if rank == 0 and time.time() - saved_at > args.save_every:
            save()
            saved_at = time.time()
    save()
    say("done", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=["r1-nano", "r1-nano-distill"])
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--tokenizer", type=Path, help="folder of tokenizer.json (default: WORK/tokenizer)")
    parser.add_argument("--tokens", type=float, default=24e6)
    parser.add_argument("--decay", type=float, default=0.6, help="last share of the tokens, in which the rate falls to zero")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--muon-lr", type=float, default=0.02)
    parser.add_argument("--adam-lr", type=float, default=0.003)
    parser.add_argument("--balance", type=float, default=0.004, help="step of the routers' bias")
    parser.add_argument("--f32", dest="bf16", action="store_false", help="no bfloat16 arithmetic (old CPUs have none)")
    parser.add_argument("--teacher", type=Path, help="checkpoint of r1-nano, for the distill")
    parser.add_argument("--tasks", help="learn these alone, names separated by commas (default: all)")
    parser.add_argument("--doubt-from", type=float, default=0.5, help="share of the tokens after which problems it is sure of are left out")
    parser.add_argument("--known", type=float, default=0.2, help="but for this share of them")
    parser.add_argument("--sure", type=float, default=0.9, help="a reply with a less probable token is in doubt")
    parser.add_argument("--init", type=Path, help="begin with these weights: a safetensors folder, such as models/r1-nano/safetensors")
    parser.add_argument("--examine", type=int, default=60, help="problems a task")
    parser.add_argument("--examine-every", type=int, default=100, help="steps")
    parser.add_argument("--save-every", type=float, default=120, help="seconds")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    args.tokenizer = args.tokenizer or args.work / "tokenizer"
    args.meeting = (args.work / f".meeting-{os.getpid()}").resolve()
    if args.processes == 1:
        worker(0, args)
    else:
        torch.multiprocessing.spawn(worker, (args,), nprocs=args.processes)
        args.meeting.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
