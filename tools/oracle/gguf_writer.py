"""Writes a Hugging Face directory (float32 safetensors) as GGUF, with the names, keys and layouts that files in the
wild have. Written against the GGUF description and the file dialects of DeepSeek models, independent of dsr1's reader:
the point is to have a second opinion."""

import json
import math
from pathlib import Path

import gguf
import numpy as np
from safetensors.torch import load_file

# (name of the pre-tokenizer in GGUF, by the tokenizer's family in make_tiny_models.py)
LAYERWISE = {
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.q_proj.bias": "attn_q.bias",
    "self_attn.k_proj.bias": "attn_k.bias",
    "self_attn.v_proj.bias": "attn_v.bias",
    "self_attn.q_norm.weight": "attn_q_norm.weight",
    "self_attn.k_norm.weight": "attn_k_norm.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "self_attn.q_a_proj.weight": "attn_q_a.weight",
    "self_attn.q_a_layernorm.weight": "attn_q_a_norm.weight",
    "self_attn.q_b_proj.weight": "attn_q_b.weight",
    "self_attn.kv_a_proj_with_mqa.weight": "attn_kv_a_mqa.weight",
    "self_attn.kv_a_layernorm.weight": "attn_kv_a_norm.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
    "mlp.gate.weight": "ffn_gate_inp.weight",
    "mlp.gate.e_score_correction_bias": "exp_probs_b.bias",
    "mlp.shared_experts.gate_proj.weight": "ffn_gate_shexp.weight",
    "mlp.shared_experts.up_proj.weight": "ffn_up_shexp.weight",
    "mlp.shared_experts.down_proj.weight": "ffn_down_shexp.weight",
    "enorm.weight": "nextn.enorm.weight",
    "hnorm.weight": "nextn.hnorm.weight",
    "eh_proj.weight": "nextn.eh_proj.weight",
    "shared_head.norm.weight": "nextn.shared_head_norm.weight",
}
GLOBAL = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def interleave_rope_rows(w, n_head):
    """HF's half-split rotary order to llama's pairs: per head, row 2i from i and row 2i+1 from i + half."""
    head_dim = w.shape[0] // n_head
    return w.reshape(n_head, 2, head_dim // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def read_tensors(directory):
    tensors = {}
    for file in sorted(Path(directory).glob("*.safetensors")):
        tensors.update({name: w.float().numpy() for name, w in load_file(file).items()})
    return tensors


def rope_of(config):
    """theta and the scaling dictionary, from the published form or from transformers 5's rope_parameters."""
    rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    theta = rope.pop("rope_theta", config.get("rope_theta", 10000.0))
    kind = rope.get("rope_type", rope.get("type", "default"))
    return theta, kind, rope


def llama3_divisors(head_dim, theta, rope):
    freq = theta ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    wavelength = 2 * math.pi / freq
    original, low, high = (rope[k] for k in ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor"))
    smooth = np.clip((original / wavelength - low) / (high - low), 0, 1)
    divisor = 1 / ((1 - smooth) / rope["factor"] + smooth)
    return divisor.astype(np.float32)


def write_tokenizer(writer, directory, pre):
    tokenizer = json.loads((directory / "tokenizer.json").read_text())
    vocab = dict(tokenizer["model"]["vocab"])
    added = {t["content"]: t for t in tokenizer["added_tokens"]}
    vocab.update({content: t["id"] for content, t in added.items()})
    n_vocab = json.loads((directory / "config.json").read_text())["vocab_size"]
    tokens = [f"[PAD{i}]" for i in range(n_vocab)]
    types = [int(gguf.TokenType.UNUSED)] * n_vocab
    for content, i in vocab.items():
        tokens[i] = content
        special = content in added and added[content]["special"]
        user = content in added and not special
        types[i] = int(gguf.TokenType.CONTROL if special else gguf.TokenType.USER_DEFINED if user else gguf.TokenType.NORMAL)
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    settings = json.loads((directory / "tokenizer_config.json").read_text())
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(vocab[settings["bos_token"]])
    writer.add_eos_token_id(vocab[settings["eos_token"]])
    writer.add_add_bos_token(bool(settings.get("add_bos_token", False)))
    if "chat_template" in settings:
        writer.add_chat_template(settings["chat_template"])


def write_keys(writer, config, arch, mla):
    key = lambda name, value, add: add(f"{arch}.{name}", value)  # noqa: E731
    u32, f32 = writer.add_uint32, writer.add_float32
    key("block_count", config["num_hidden_layers"] + config.get("_mtp_layers", 0), u32)
    key("context_length", config["max_position_embeddings"], u32)
    key("embedding_length", config["hidden_size"], u32)
    key("feed_forward_length", config["intermediate_size"], u32)
    key("vocab_size", config["vocab_size"], u32)
    key("attention.head_count", config["num_attention_heads"], u32)
    key("attention.layer_norm_rms_epsilon", config["rms_norm_eps"], f32)
    theta, kind, rope = rope_of(config)
    key("rope.freq_base", theta, f32)
    if arch == "deepseek2":
        nope, rot, v = config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["v_head_dim"]
        if mla == "split":
            key("attention.head_count_kv", 1, u32)
            key("attention.key_length", config["kv_lora_rank"] + rot, u32)
            key("attention.value_length", config["kv_lora_rank"], u32)
            key("attention.key_length_mla", nope + rot, u32)
            key("attention.value_length_mla", v, u32)
        else:
            key("attention.head_count_kv", config["num_attention_heads"], u32)
            key("attention.key_length", nope + rot, u32)
            key("attention.value_length", v, u32)
        if config.get("q_lora_rank"):
            key("attention.q_lora_rank", config["q_lora_rank"], u32)
        key("attention.kv_lora_rank", config["kv_lora_rank"], u32)
        key("rope.dimension_count", rot, u32)
        key("expert_count", config["n_routed_experts"], u32)
        key("expert_used_count", config["num_experts_per_tok"], u32)
        key("expert_shared_count", config["n_shared_experts"], u32)
        key("expert_feed_forward_length", config["moe_intermediate_size"], u32)
        key("expert_weights_scale", config["routed_scaling_factor"], f32)
        key("leading_dense_block_count", config["first_k_dense_replace"], u32)
        sigmoid = config["model_type"] == "deepseek_v3"
        key("expert_gating_func", 2 if sigmoid else 1, u32)
        key("expert_weights_norm", bool(config.get("norm_topk_prob")) and sigmoid, writer.add_bool)
        if config.get("n_group") and config["n_group"] > 1 and not config.get("_no_group_keys"):
            key("expert_group_count", config["n_group"], u32)
            key("expert_group_used_count", config["topk_group"], u32)
        if config.get("_mtp_layers"):
            key("nextn_predict_layers", config["_mtp_layers"], u32)
    else:
        key("attention.head_count_kv", config["num_key_value_heads"], u32)
        head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        key("attention.key_length", head_dim, u32)
        key("attention.value_length", head_dim, u32)
        key("rope.dimension_count", head_dim, u32)
    if kind == "yarn":
        key("rope.scaling.type", "yarn", writer.add_string)
        key("rope.scaling.factor", rope["factor"], f32)
        key("rope.scaling.original_context_length", rope["original_max_position_embeddings"], u32)
        if arch == "deepseek2":
            key("rope.scaling.yarn_log_multiplier", 0.1 * rope["mscale_all_dim"], f32)
        if "beta_fast" in rope:
            key("rope.scaling.yarn_beta_fast", rope["beta_fast"], f32)
            key("rope.scaling.yarn_beta_slow", rope["beta_slow"], f32)


def write_gguf(directory, path, pre, mla="split", merged_gate_up=False, group_keys=True, encode=None, file_type=None):
    """mla: split (k_b, v_b), legacy (joined kv_b) or ik (all three, 2-D), as deepseek2 files come. encode: from a
    tensor's name and float32 values to (array as stored, its type or None); without it all stays float32."""
    directory = Path(directory)
    config = json.loads((directory / "config.json").read_text())
    config["_no_group_keys"] = not group_keys
    tensors = read_tensors(directory)
    arch = {"qwen2": "qwen2", "qwen3": "qwen3", "llama": "llama", "deepseek_v2": "deepseek2", "deepseek_v3": "deepseek2"}
    arch = arch[config["model_type"]]
    n_layer = config["num_hidden_layers"]
    config["_mtp_layers"] = int(f"model.layers.{n_layer}.eh_proj.weight" in tensors)
    writer = gguf.GGUFWriter(str(path), arch)
    writer.add_name(Path(path).stem)
    writer.add_file_type(file_type or gguf.LlamaFileType.ALL_F32)
    write_keys(writer, config, arch, mla)
    write_tokenizer(writer, directory, pre)

    def add_tensor(tensor, values):
        stored, kind = encode(tensor, values) if encode else (values, None)
        writer.add_tensor(tensor, stored, raw_dtype=kind)

    experts = {}  # (layer, which) -> {expert: matrix}
    theta, kind, rope = rope_of(config)
    if arch == "llama" and kind == "llama3":
        head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        add_tensor("rope_freqs.weight", llama3_divisors(head_dim, theta, rope))
    for name, w in tensors.items():
        w = np.ascontiguousarray(w, dtype=np.float32)
        if name in GLOBAL:
            add_tensor(GLOBAL[name], w)
            continue
        layer, rest = name.removeprefix("model.layers.").split(".", 1)
        if rest == "self_attn.kv_b_proj.weight":
            heads, nope, v = config["num_attention_heads"], config["qk_nope_head_dim"], config["v_head_dim"]
            per_head = w.reshape(heads, nope + v, -1)
            k_b = np.ascontiguousarray(per_head[:, :nope].swapaxes(1, 2))
            v_b = np.ascontiguousarray(per_head[:, nope:])
            if mla != "split":
                add_tensor(f"blk.{layer}.attn_kv_b.weight", w)
            if mla == "ik":
                k_b, v_b = k_b.reshape(-1, nope), v_b.reshape(-1, v_b.shape[2])
            if mla != "legacy":
                add_tensor(f"blk.{layer}.attn_k_b.weight", k_b)
                add_tensor(f"blk.{layer}.attn_v_b.weight", v_b)
            continue
        if rest.startswith("mlp.experts."):
            _, _, expert, which, _ = rest.split(".")
            experts.setdefault((layer, which), {})[int(expert)] = w
            continue
        if arch == "llama" and rest == "self_attn.q_proj.weight":
            w = np.ascontiguousarray(interleave_rope_rows(w, config["num_attention_heads"]))
        if arch == "llama" and rest == "self_attn.k_proj.weight":
            w = np.ascontiguousarray(interleave_rope_rows(w, config["num_key_value_heads"]))
        if rest in ("embed_tokens.weight", "shared_head.head.weight"):
            continue  # the MTP layer's copies of the main model's embedding and head
        add_tensor(f"blk.{layer}.{LAYERWISE[rest]}", w)
    stacked = {k: np.stack([v[e] for e in range(len(v))]) for k, v in experts.items()}
    for (layer, which), w in stacked.items():
        short = which.removesuffix("_proj")
        if merged_gate_up and short == "gate":
            w = np.concatenate([w, stacked[layer, "up_proj"]], axis=1)
            short = "gate_up"
        elif merged_gate_up and short == "up":
            continue
        add_tensor(f"blk.{layer}.ffn_{short}_exps.weight", np.ascontiguousarray(w))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
