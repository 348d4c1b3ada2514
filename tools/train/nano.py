"""The two models as training sees them, small and quick on a CPU: r1-nano (DeepSeek-V3's architecture with every part of
R1) and r1-nano-distill (Qwen2). Rows of a batch are separate conversations of equal padded length, so attention is
plain causal; expert matrices of a layer are one tensor, and tokens are sorted by expert into padded batches."""

import math

import torch
import torch.nn.functional as F
from torch import nn

NANO = dict(
    kind="deepseek_v3", vocab_size=768, hidden_size=256, intermediate_size=512, moe_intermediate_size=64, num_hidden_layers=4,
    num_attention_heads=4, q_lora_rank=128, kv_lora_rank=64, qk_nope_head_dim=32, qk_rope_head_dim=32, v_head_dim=64,
    n_routed_experts=16, num_experts_per_tok=2, n_group=4, topk_group=2, n_shared_experts=1, first_k_dense_replace=1,
    routed_scaling_factor=2.0, rms_norm_eps=1e-6, rope_theta=10000.0, max_position_embeddings=4096,
    yarn=dict(factor=8.0, original_max_position_embeddings=512, beta_fast=32.0, beta_slow=1.0, mscale=1.0, mscale_all_dim=1.0),
)  # fmt: skip
STUDENT = dict(
    kind="qwen2", vocab_size=768, hidden_size=128, intermediate_size=352, num_hidden_layers=4, num_attention_heads=4,
    num_key_value_heads=2, rms_norm_eps=1e-6, rope_theta=10000.0, max_position_embeddings=2048,
)  # fmt: skip


class RMSNorm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)


def yarn_frequencies(dim, theta, y):
    """Spec of YaRN as DeepSeek uses it: fast pairs as trained, slow ones divided by the factor, a ramp between."""
    freq = theta ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    if not y:
        return freq
    original = y["original_max_position_embeddings"]
    turns = lambda beta: dim * math.log(original / (beta * 2 * math.pi)) / (2 * math.log(theta))  # noqa: E731
    low, high = max(0, math.floor(turns(y["beta_fast"]))), min(dim - 1, math.ceil(turns(y["beta_slow"])))
    ramp = ((torch.arange(dim // 2, dtype=torch.float64) - low) / max(0.001, high - low)).clamp(0, 1)
    return freq / y["factor"] * ramp + freq * (1 - ramp)


class Rope(nn.Module):
    def __init__(self, dim, theta, yarn, length=1024):
        super().__init__()
        angle = torch.outer(torch.arange(length, dtype=torch.float64), yarn_frequencies(dim, theta, yarn))
        self.register_buffer("cos", angle.cos().float(), persistent=False)
        self.register_buffer("sin", angle.sin().float(), persistent=False)

    def pairs(self, x):
        """(x0, x1), (x2, x3) … turned; the halves come out side by side, which no dot product notices."""
        n = x.shape[-2]
        a, b, c, s = x[..., 0::2], x[..., 1::2], self.cos[:n].to(x.dtype), self.sin[:n].to(x.dtype)
        return torch.cat([a * c - b * s, b * c + a * s], -1)

    def halves(self, x):
        n = x.shape[-2]
        a, b = x.chunk(2, -1)
        c, s = self.cos[:n].to(x.dtype), self.sin[:n].to(x.dtype)
        return torch.cat([a * c - b * s, b * c + a * s], -1)


def attend(q, k, v, scale):
    """Written out: for rows this short quicker on a CPU than the fused kernel."""
    b, h, t, d = q.shape
    future = torch.full((t, t), -math.inf, dtype=q.dtype, device=q.device).triu(1)
    w = torch.baddbmm(future, (q * scale).reshape(b * h, t, d), k.reshape(b * h, t, d).transpose(1, 2))
    return torch.bmm(w.float().softmax(-1).to(v.dtype), v.reshape(b * h, t, -1)).view(b, h, t, -1)


class MLA(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c, d, h = c, c["hidden_size"], c["num_attention_heads"]
        qk = c["qk_nope_head_dim"] + c["qk_rope_head_dim"]
        self.q_a = nn.Linear(d, c["q_lora_rank"], bias=False)
        self.q_a_norm = RMSNorm(c["q_lora_rank"], c["rms_norm_eps"])
        self.q_b = nn.Linear(c["q_lora_rank"], h * qk, bias=False)
        self.kv_a = nn.Linear(d, c["kv_lora_rank"] + c["qk_rope_head_dim"], bias=False)
        self.kv_a_norm = RMSNorm(c["kv_lora_rank"], c["rms_norm_eps"])
        self.kv_b = nn.Linear(c["kv_lora_rank"], h * (c["qk_nope_head_dim"] + c["v_head_dim"]), bias=False)
        self.o = nn.Linear(h * c["v_head_dim"], d, bias=False)
        m = 0.1 * c["yarn"]["mscale_all_dim"] * math.log(c["yarn"]["factor"]) + 1
        self.scale = qk**-0.5 * m * m

    def forward(self, x, rope):
        c, (b, t, _) = self.c, x.shape
        h, nope, rot, v = c["num_attention_heads"], c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
        q = self.q_b(self.q_a_norm(self.q_a(x))).view(b, t, h, nope + rot).transpose(1, 2)
        q_nope, q_rope = q.split([nope, rot], -1)
        latent, k_rope = self.kv_a(x).split([c["kv_lora_rank"], rot], -1)
        kv = self.kv_b(self.kv_a_norm(latent)).view(b, t, h, nope + v).transpose(1, 2)
        k_nope, value = kv.split([nope, v], -1)
        q = torch.cat([q_nope, rope.pairs(q_rope)], -1)
        k = torch.cat([k_nope, rope.pairs(k_rope[:, None]).expand(-1, h, -1, -1)], -1)
        y = attend(q, k, value, self.scale)
        return self.o(y.transpose(1, 2).reshape(b, t, h * v))


class MLP(nn.Module):
    def __init__(self, d, f):
        super().__init__()
        self.gate_up, self.down = nn.Linear(d, 2 * f, bias=False), nn.Linear(f, d, bias=False)

    def forward(self, x):
        gate, up = self.gate_up(x).chunk(2, -1)
        return self.down(F.silu(gate) * up)


class MoE(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c, n, d, f = c, c["n_routed_experts"], c["hidden_size"], c["moe_intermediate_size"]
        self.router = nn.Parameter(torch.randn(n, d) * d**-0.5)
        self.register_buffer("bias", torch.zeros(n))
        self.gate_up = nn.Parameter(torch.randn(n, 2 * f, d) * d**-0.5)
        self.down = nn.Parameter(torch.randn(n, d, f) * f**-0.5)
        self.shared = MLP(d, f * c["n_shared_experts"])
        self.load = None  # tokens each expert saw in the last step

    def route(self, x):
        c = self.c
        s = torch.sigmoid(F.linear(x.float(), self.router.float()))
        choice = s.detach() + self.bias
        groups = choice.view(-1, c["n_group"], c["n_routed_experts"] // c["n_group"])
        kept = groups.topk(2, -1)[0].sum(-1).topk(c["topk_group"], -1)[1]
        mask = torch.zeros(groups.shape[:2], dtype=torch.bool, device=x.device).scatter_(1, kept, True)
        choice = groups.masked_fill(~mask[..., None], -math.inf).view(choice.shape)
        index = choice.topk(c["num_experts_per_tok"], -1)[1]
        w = s.gather(1, index)
        return w / (w.sum(-1, keepdim=True) + 1e-20) * c["routed_scaling_factor"], index

    def forward(self, x):
        shape, n, k = x.shape, self.c["n_routed_experts"], self.c["num_experts_per_tok"]
        x = x.reshape(-1, shape[-1])
        w, index = self.route(x)
        flat = index.reshape(-1)
        count = torch.bincount(flat, minlength=n)
        self.load = count if self.load is None else self.load + count
        room = -(-int(count.max()) // 64) * 64  # few different shapes: see train.py
        order = torch.argsort(flat, stable=True)  # slots by expert
        within = torch.arange(flat.numel(), device=x.device) - (count.cumsum(0) - count)[flat[order]]
        place = torch.empty_like(flat)
        place[order] = flat[order] * room + within  # where each (token, choice) lies in the padded batch
        source = torch.zeros(n * room, dtype=torch.long, device=x.device)
        source[place] = torch.arange(flat.numel(), device=x.device) // k
        h = x.index_select(0, source).view(n, room, -1)
        gate, up = torch.bmm(h, self.gate_up.to(h.dtype).transpose(1, 2)).chunk(2, -1)
        y = torch.bmm(F.silu(gate) * up, self.down.to(h.dtype).transpose(1, 2)).view(n * room, -1)
        y = y.index_select(0, place).view(-1, k, shape[-1])
        y = (y * w[..., None].to(y.dtype)).sum(1)
        return (y + self.shared(x)).view(shape)


class Block(nn.Module):
    def __init__(self, c, attn, ffn):
        super().__init__()
        d, eps = c["hidden_size"], c["rms_norm_eps"]
        self.attn_norm, self.attn, self.ffn_norm, self.ffn = RMSNorm(d, eps), attn, RMSNorm(d, eps), ffn

    def forward(self, x, rope):
        x = x + self.attn(self.attn_norm(x), rope)
        return x + self.ffn(self.ffn_norm(x))


class Mtp(nn.Module):
    """DeepSeek-V3's next-token module: from the state at t and the token at t+1 it guesses the token at t+2."""

    def __init__(self, c):
        super().__init__()
        d, eps = c["hidden_size"], c["rms_norm_eps"]
        self.enorm, self.hnorm, self.head_norm = RMSNorm(d, eps), RMSNorm(d, eps), RMSNorm(d, eps)
        self.eh = nn.Linear(2 * d, d, bias=False)
        self.block = Block(c, MLA(c), MoE(c))

    def forward(self, hidden, next_embedding, rope):
        return self.head_norm(self.block(self.eh(torch.cat([self.enorm(next_embedding), self.hnorm(hidden)], -1)), rope))


class Decoder(nn.Module):
    """Embedding, blocks and last norm, which both models have."""

    def __init__(self, c, blocks, rope):
        super().__init__()
        self.c, d = c, c["hidden_size"]
        self.embed = nn.Embedding(c["vocab_size"], d)
        self.blocks = nn.ModuleList(blocks)
        self.norm = RMSNorm(d, c["rms_norm_eps"])
        self.rope, self.mtp = rope, None

    def hidden(self, ids):
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x, self.rope)
        return self.norm(x)

    def forward(self, ids):
        return self.head(self.hidden(ids))

    def moes(self):
        return [m for m in self.modules() if isinstance(m, MoE)]


class Nano(Decoder):
    def __init__(self, c):
        blocks = [Block(c, MLA(c), MLP(c["hidden_size"], c["intermediate_size"]) if i < c["first_k_dense_replace"] else MoE(c)) for i in range(c["num_hidden_layers"])]
        super().__init__(c, blocks, Rope(c["qk_rope_head_dim"], c["rope_theta"], c["yarn"]))
        self.head = nn.Linear(c["hidden_size"], c["vocab_size"], bias=False)
        self.mtp = Mtp(c)


class GQA(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, self.h, self.kv = c["hidden_size"], c["num_attention_heads"], c["num_key_value_heads"]
        self.hd = d // self.h
        self.q = nn.Linear(d, d)
        self.k, self.v = nn.Linear(d, self.kv * self.hd), nn.Linear(d, self.kv * self.hd)
        self.o = nn.Linear(d, d, bias=False)

    def forward(self, x, rope):
        b, t, d = x.shape
        q = rope.halves(self.q(x).view(b, t, self.h, self.hd).transpose(1, 2))
        k = rope.halves(self.k(x).view(b, t, self.kv, self.hd).transpose(1, 2)).repeat_interleave(self.h // self.kv, 1)
        v = self.v(x).view(b, t, self.kv, self.hd).transpose(1, 2).repeat_interleave(self.h // self.kv, 1)
        y = attend(q, k, v, self.hd**-0.5)
        return self.o(y.transpose(1, 2).reshape(b, t, d))


class Student(Decoder):
    def __init__(self, c):
        blocks = [Block(c, GQA(c), MLP(c["hidden_size"], c["intermediate_size"])) for _ in range(c["num_hidden_layers"])]
        super().__init__(c, blocks, Rope(c["hidden_size"] // c["num_attention_heads"], c["rope_theta"], None))

    def head(self, x):
        return F.linear(x, self.embed.weight)


def build(name, seed):
    torch.manual_seed(seed)
    c = {"r1-nano": NANO, "r1-nano-distill": STUDENT}[name]
    model = Nano(c) if c["kind"] == "deepseek_v3" else Student(c)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    with torch.no_grad():  # every branch begins small beside the stream it adds to
        for block in list(model.blocks) + ([model.mtp.block] if model.mtp else []):
            block.attn.o.weight.mul_(0.3)
            ffn = block.ffn
            (ffn.down if isinstance(ffn, MoE) else ffn.down.weight).mul_(0.3)
            if isinstance(ffn, MoE):
                ffn.shared.down.weight.mul_(0.3)
        nn.init.normal_(model.embed.weight, std=1.0 if c["kind"] == "deepseek_v3" else 0.05)
        if c["kind"] == "deepseek_v3":
            model.head.weight.mul_(0.1)
    return model
