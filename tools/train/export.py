#!/usr/bin/env python3
"""Writes a checkpoint of train.py as people use models: a Hugging Face directory (bfloat16 safetensors, DeepSeek's and
Qwen's tensor names) and GGUF files (Q8_0, and F16 to make other types of).

    export.py NAME --work WORK --out DIR [--f16 FILE]

The GGUF is made from the directory, so both hold the same bfloat16 weights."""

import argparse
import json
import shutil
import sys
from pathlib import Path

import gguf
import nano
import numpy as np
import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "oracle"))
from gguf_writer import write_gguf  # noqa: E402


def split(w):
    half = w.shape[0] // 2
    return w[:half], w[half:]


def mlp_names(prefix, ffn):
    gate, up = split(ffn.gate_up.weight)
    return {prefix + "gate_proj.weight": gate, prefix + "up_proj.weight": up, prefix + "down_proj.weight": ffn.down.weight}


def nano_block(prefix, block):
    a = block.attn
    t = {
        "input_layernorm.weight": block.attn_norm.weight,
        "post_attention_layernorm.weight": block.ffn_norm.weight,
        "self_attn.q_a_proj.weight": a.q_a.weight,
        "self_attn.q_a_layernorm.weight": a.q_a_norm.weight,
        "self_attn.q_b_proj.weight": a.q_b.weight,
        "self_attn.kv_a_proj_with_mqa.weight": a.kv_a.weight,
        "self_attn.kv_a_layernorm.weight": a.kv_a_norm.weight,
        "self_attn.kv_b_proj.weight": a.kv_b.weight,
        "self_attn.o_proj.weight": a.o.weight,
    }
    if isinstance(block.ffn, nano.MLP):
        return {prefix + k: v for k, v in (t | mlp_names("mlp.", block.ffn)).items()}
    moe = block.ffn
    t |= {"mlp.gate.weight": moe.router, "mlp.gate.e_score_correction_bias": moe.bias}
    t |= mlp_names("mlp.shared_experts.", moe.shared)
    for e in range(moe.gate_up.shape[0]):
        gate, up = split(moe.gate_up[e])
        name = f"mlp.experts.{e}."
        t |= {name + "gate_proj.weight": gate, name + "up_proj.weight": up, name + "down_proj.weight": moe.down[e]}
    return {prefix + k: v for k, v in t.items()}


def nano_tensors(m):
    n = len(m.blocks)
    t = {"model.embed_tokens.weight": m.embed.weight, "model.norm.weight": m.norm.weight, "lm_head.weight": m.head.weight}
    for i, block in enumerate(m.blocks):
        t |= nano_block(f"model.layers.{i}.", block)
    p = f"model.layers.{n}."  # its embedding and head are the main model's
    t |= nano_block(p, m.mtp.block)
    t |= {
        p + "enorm.weight": m.mtp.enorm.weight,
        p + "hnorm.weight": m.mtp.hnorm.weight,
        p + "eh_proj.weight": m.mtp.eh.weight,
        p + "shared_head.norm.weight": m.mtp.head_norm.weight,
    }
    return t


def student_tensors(m):
    t = {"model.embed_tokens.weight": m.embed.weight, "model.norm.weight": m.norm.weight}
    for i, b in enumerate(m.blocks):
        p = f"model.layers.{i}."
        t |= {p + "input_layernorm.weight": b.attn_norm.weight, p + "post_attention_layernorm.weight": b.ffn_norm.weight}
        for name in "qkv":
            linear = getattr(b.attn, name)
            t |= {f"{p}self_attn.{name}_proj.weight": linear.weight, f"{p}self_attn.{name}_proj.bias": linear.bias}
        t |= {p + "self_attn.o_proj.weight": b.attn.o.weight} | mlp_names(p + "mlp.", b.ffn)
    return t


def tensors_of(model):
    """Published name -> the parameter, or the part of it, that holds it."""
    return nano_tensors(model) if isinstance(model, nano.Nano) else student_tensors(model)


@torch.no_grad()
def load_into(model, directory):
    """The other way: weights of a published directory into a model that is to be trained on."""
    published = load_file(directory / "model.safetensors")
    for name, mine in tensors_of(model).items():
        mine.copy_(published[name])


def config_of(c):
    out = {
        "vocab_size": c["vocab_size"], "hidden_size": c["hidden_size"], "intermediate_size": c["intermediate_size"],
        "num_hidden_layers": c["num_hidden_layers"], "num_attention_heads": c["num_attention_heads"], "hidden_act": "silu",
        "rms_norm_eps": c["rms_norm_eps"], "rope_theta": c["rope_theta"], "max_position_embeddings": c["max_position_embeddings"],
        "bos_token_id": 0, "eos_token_id": 1, "torch_dtype": "bfloat16", "attention_dropout": 0.0, "use_cache": True,
    }  # fmt: skip
    if c["kind"] == "qwen2":
        return out | {
            "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "num_key_value_heads": c["num_key_value_heads"],
            "tie_word_embeddings": True, "use_sliding_window": False,
        }  # fmt: skip
    same = ["moe_intermediate_size", "q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "n_routed_experts",
            "num_experts_per_tok", "n_group", "topk_group", "n_shared_experts", "first_k_dense_replace", "routed_scaling_factor"]  # fmt: skip
    return out | {k: c[k] for k in same} | {
        "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "num_key_value_heads": c["num_attention_heads"],
        "tie_word_embeddings": False, "attention_bias": False, "norm_topk_prob": True, "scoring_func": "sigmoid", "topk_method": "noaux_tc",
        "moe_layer_freq": 1, "num_nextn_predict_layers": 1, "rope_scaling": {"type": "yarn"} | c["yarn"],
    }  # fmt: skip


def stored(kind):
    """(name, float32 array) -> (array as stored, type): matrices in `kind`, routers, norms and biases in float32."""

    def encode(name, w):
        if w.ndim < 2 or "ffn_gate_inp" in name:
            return w, None
        if kind == gguf.GGMLQuantizationType.F16:
            return w.astype(np.float16), None
        return gguf.quants.quantize(w, kind), kind

    return encode


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=["r1-nano", "r1-nano-distill"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="DIR/NAME.gguf and DIR/safetensors")
    parser.add_argument("--f16", type=Path, help="write this GGUF too")
    args = parser.parse_args()
    model = nano.build(args.name, 0)
    saved = torch.load(args.work / f"{args.name}.pt", map_location="cpu", weights_only=True)
    model.load_state_dict(saved["model"])
    directory = args.out / "safetensors"
    directory.mkdir(parents=True, exist_ok=True)
    tensors = tensors_of(model)
    keep = ("mlp.gate.weight", "e_score_correction_bias")  # float32 in DeepSeek's files too
    tensors = {k: v.detach().contiguous().clone() if k.endswith(keep) else v.detach().bfloat16().contiguous() for k, v in tensors.items()}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "config.json").write_text(json.dumps(config_of(model.c), indent=1, sort_keys=True) + "\n")
    settings = {"bos_token_id": 0, "eos_token_id": 1, "do_sample": True, "temperature": 0.6, "top_p": 0.95}
    (directory / "generation_config.json").write_text(json.dumps(settings, indent=1) + "\n")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(args.work / "tokenizer" / file, directory / file)
    write_gguf(directory, args.out / f"{args.name}.gguf", "deepseek-v3", encode=stored(gguf.GGMLQuantizationType.Q8_0), file_type=gguf.LlamaFileType.MOSTLY_Q8_0)
    if args.f16:
        write_gguf(directory, args.f16, "deepseek-v3", encode=stored(gguf.GGMLQuantizationType.F16), file_type=gguf.LlamaFileType.MOSTLY_F16)
    n = sum(v.numel() for v in tensors.values())
    print(f"{args.name}: {n:,} parameters in {args.out} (step {saved['state']['step']}, {saved['state']['tokens'] / 1e6:.1f} M tokens)")


if __name__ == "__main__":
    main()
