# SPDX-License-Identifier: Apache-2.0
"""Every family, in full and with LoRA, in one process and in two with ZeRO-3, through the host on real files."""

import math

import pytest
import torch

from rgpt4d_plugin.distill import DistillBatch
from rgpt4d_plugin.students import get_family
from rgpt4d_plugin.trainers.mixin import BATCH_KEY
from tests.e2e.launch import deepspeed_config, run_together
from tests.harness import LOG_KEYS, logs, train_here
from tests.tiny_models import FAMILIES, FIRST, OTHERS, TEMPLATES, build_tiny_student
from tests.training import built_trainers


pytestmark = pytest.mark.slow


STEPS = 2
METHODS = ("full", "lora")


def template_of(family, method):
    """Returns the host's template for full training and the derived one for LoRA, so that both are trained with."""
    return TEMPLATES[family] if method == "full" else f"rgpt4d_{TEMPLATES[family].removeprefix('rgpt4d_')}"


@pytest.fixture(scope="module")
def recipe(assets, tmp_path_factory):
    """Makes a family's recipe: the same two clips, of different shape and six frames each, in every step."""
    root = tmp_path_factory.mktemp("families")

    def make(family, method, way, **overrides):
        student = root / family
        if not student.exists():
            build_tiny_student(student, family, hidden=32, layers=2, vision_hidden=32)
        run = assets.recipe(
            root / f"{family}-{method}-{way}",
            model_name_or_path=str(student),
            template=template_of(family, method),
            finetuning_type=method,
            max_samples=2,
            max_steps=STEPS,
            video_maxlen=None,
            p4d=assets.p4d(frames=6),
        )
        return run | overrides

    return make


@pytest.fixture(scope="module")
def one_process(recipe):
    """Trains in this process, once; returns the trainer and what it logged."""
    done = {}

    def train(family, method):
        if (family, method) not in done:
            run = recipe(family, method, "one", per_device_train_batch_size=2)
            with built_trainers() as built:
                train_here(run)
            done[family, method] = built[0], logs(run["output_dir"])
        return done[family, method]

    return train


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_loss_falls(one_process, family, method):
    _, lines = one_process(family, method)
    assert len(lines) == STEPS
    for line in lines:
        assert line["p4d_videos"] == 2
        terms = [line[key] for key in LOG_KEYS.values()]
        assert all(math.isfinite(term) and term > 0 for term in terms)
        assert line["loss"] == pytest.approx(line["loss_sft"] + 0.1 * sum(terms), rel=1e-5)
    # Where the vision towers train too, one step may be one too far.
    for key in ("loss", "loss_sft", "loss_depth") if family != "video_llava" else ("loss", "loss_sft"):
        assert lines[-1][key] < lines[0][key], key


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_term_alone_reaches_all_of_the_language_model(one_process, family, method, monkeypatch):
    """Its first layer as well as its last, and with LoRA every adapter."""
    trainer, _ = one_process(family, method)
    model, tap, distiller = trainer.model, trainer._p4d_tap, trainer._p4d_distiller
    batch = trainer._prepare_inputs(trainer.data_collator([dict(row) for row in trainer.train_dataset]))
    clips: DistillBatch = batch.pop(BATCH_KEY)
    layers = {name: weight for name, weight in model.named_parameters() if ".layers." in name and weight.requires_grad}
    layers = {name: weight for name, weight in layers.items() if "language_model" in name}
    assert {name.split(".layers.")[1][0] for name in layers} == {"0", "1"}
    model.train()
    for term in LOG_KEYS:
        monkeypatch.setattr(distiller, "weights", {term: 1.0})
        model.zero_grad()
        with tap.listen(clips):
            model(**batch)
            latents = tap.latents()
        distiller(latents, clips).total.backward()
        without = [name for name, weight in layers.items() if weight.grad is None or not weight.grad.any()]
        assert not without, f"{term} does not reach {without}"
    model.zero_grad()


_GLM = ("visual.patch_embed", "visual.blocks", "visual.merger")
FROZEN = {
    "gemma4": ("vision_tower", "embed_vision"),
    "video_llava": ("multi_modal_projector",),
    "glm4v": _GLM,
    "glm4v_moe": _GLM,
}
"""Parts that are neither trained nor adapted, where their names are the family's own."""

LEFT_OUT = {
    "llava": {"model.image_newline"},
    "glm4v": {
        f"model.visual.{name}"
        for name in ("embeddings.position_embedding.weight", "post_conv_layernorm.weight", "post_layernorm.weight")
        + ("downsample.weight", "downsample.bias")
    },
}
"""What the host takes neither for vision tower nor projector and so trains: the newline after a line of an image, and
what is around the blocks of GLM's tower."""


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_trained(one_process, family):
    """By name: the language model and nothing of vision tower or projector; adapters in its layers only."""
    trained = {}
    for method in METHODS:
        trainer, _ = one_process(family, method)
        own = {f"p4d_decoder.{name}" for name, _ in trainer._p4d_tap.decoder.named_parameters()}
        named = dict(trainer.model.named_parameters())
        trained[method] = {name for name, weight in named.items() if weight.requires_grad} - own
    language = {name for name in trained["full"] if "language_model" in name or name.startswith("lm_head")}
    # Video-LLaVA's towers are neither to the host, too.
    more = {name for name in trained["full"] - language if not (family == "video_llava" and "_tower." in name)}
    assert more == next((names for begin, names in LEFT_OUT.items() if family.startswith(begin)), set())
    full = dict(one_process(family, "full")[0].model.named_parameters())
    frozen = full.keys() - trained["full"] - {name for name in full if name.startswith("p4d_decoder")}
    assert not [name for name in frozen if "language_model" in name]
    parts = FROZEN.get(family, ("visual",) if family.startswith("qwen") else ("vision_tower", "multi_modal_projector"))
    assert frozen and all(any(f".{part}." in name for part in parts) for name in frozen)

    # Every linear layer; the weights of experts, and what chooses among them, are none.
    decoder = one_process(family, "full")[0].model.get_decoder()
    linear = {name for name, module in decoder.named_modules() if isinstance(module, torch.nn.Linear)}
    adapted = [name.split(".lora_")[0] for name in trained["lora"]]
    assert all("language_model." in name or (family == "video_llava" and "_tower." in name) for name in adapted)
    adapted = {name.split("language_model.")[1] for name in adapted if "language_model." in name}
    assert adapted == linear and len(linear) >= 8


@pytest.mark.distributed
@pytest.mark.parametrize("families", [FIRST, pytest.param(OTHERS, marks=pytest.mark.further)], ids=["first", "others"])
def test_two_processes_with_zero3_do_the_same(recipe, one_process, tmp_path, families):
    """All of them in one start. The second step is one of the weights that the gradients of the first have made.

    Those with experts are trained in full, and longer, in `test_experts.py`.
    """
    zero3 = {"deepspeed": deepspeed_config(tmp_path, 3)}
    loaded = [family for family in families if get_family(family).loads_under_zero3]
    runs = {
        (family, method): recipe(family, method, "zero3", **zero3)
        for family in loaded
        for method in (("lora",) if family.endswith("_moe") else METHODS)
    }
    refused = {"raises": ("P4DConfigError", "loads none of the language model of Qwen3.5, which stays random")}
    run_together(tmp_path, *runs.values(), recipe("qwen3_5", "full", "zero3_refused", **zero3, **refused))
    for (family, method), run in runs.items():
        one, two = one_process(family, method)[1], logs(run["output_dir"])
        assert len(one) == len(two) == STEPS
        # Under ZeRO-3 the library draws a parameter of these models (`image_newline`, CLIP's `class_embedding`) before
        # it loads it, and the host's random adapters after: they begin as others do. The first step does not show it.
        # Adam makes whole steps of gradients that are all rounding, which Video-LLaVA's towers have.
        same = 1 if family == "video_llava" or (method == "lora" and "llava" in family) else STEPS
        for step in range(same):
            for key in ("loss", "loss_sft", *LOG_KEYS.values()):
                # Float32 sums in another order: a few units in the last place.
                assert two[step][key] == pytest.approx(one[step][key], rel=1e-5), (family, method, step, key)
        assert two[-1]["loss"] < two[0]["loss"], (family, method)
