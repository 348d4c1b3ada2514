"""Muon for matrices, Adam for the rest (embeddings, head, routers, norms, biases)."""

import torch


def orthogonal(g, steps=4):
    """Newton-Schulz iteration towards the nearest orthogonal matrix, for a stack of matrices at once."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.bfloat16() if g.shape[-1] >= 64 else g
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        s = x @ x.mT
        x = a * x + (b * s + c * s @ s) @ x
    return (x.mT if tall else x).to(g.dtype)


class Optimizer:
    """lr is the factor of the schedule; each group has its own base rate."""

    def __init__(self, model, muon_lr=0.02, adam_lr=0.003, momentum=0.95, decay=0.01):
        self.muon_lr, self.adam_lr, self.momentum, self.decay = muon_lr, adam_lr, momentum, decay
        self.named = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.is_matrix = {n: p.dim() >= 2 and not n.startswith(("embed", "head")) and "router" not in n for n, p in self.named.items()}
        self.state = {n: [torch.zeros_like(p)] + ([] if self.is_matrix[n] else [torch.zeros_like(p)]) for n, p in self.named.items()}
        self.step_count = 0

    @torch.no_grad()
    def step(self, lr):
        self.step_count += 1
        total = torch.sqrt(sum((p.grad.float() ** 2).sum() for p in self.named.values() if p.grad is not None))
        clip = min(1.0, 1.0 / (float(total) + 1e-6))
        for name, p in self.named.items():
            if p.grad is None:
                continue
            g = p.grad
            if self.is_matrix[name]:
                m = self.state[name][0]
                m.lerp_(g, 1 - self.momentum)
                u = orthogonal(torch.lerp(g, m, self.momentum))
                rate = self.muon_lr * lr * max(1.0, p.shape[-2] / p.shape[-1]) ** 0.5
                p.mul_(1 - self.decay * self.muon_lr * lr).add_(u, alpha=-rate)
            else:
                m, v = self.state[name]
                g = g * clip
                m.lerp_(g, 0.1)
                v.lerp_(g * g, 0.02)
                t = self.step_count
                p.add_((m / (1 - 0.9**t)) / ((v / (1 - 0.98**t)).sqrt() + 1e-8), alpha=-self.adam_lr * lr)
            p.grad = None
        return float(total)

    def state_dict(self):
        return {"step_count": self.step_count, "state": self.state}

    def load_state_dict(self, d):
        self.step_count = d["step_count"]
        for n, values in d["state"].items():
            for mine, theirs in zip(self.state[n], values):
                mine.copy_(theirs)
