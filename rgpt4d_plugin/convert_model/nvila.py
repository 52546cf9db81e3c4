# SPDX-License-Identifier: Apache-2.0
"""NVILA-Lite, and 4D-RGPT which has its layout: the three published folders to one of model type `nvila`.

The layout is what NVlabs/VILA (commit b760c34) saves: `llm/`, `vision_tower/` and `mm_projector/`, each with its own
configuration and weights, and a `config.json` above them. Every tensor is accounted for, or nothing is written.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, ValidationInfo, field_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase
from transformers.dynamic_module_utils import custom_object_save

from rgpt4d_plugin.convert_model.nvila_names import (
    PARTS,
    TABLES,
    check_new,
    our_name,
    published_name,
    shard_name,
    write_index,
)
from rgpt4d_plugin.files import read_json
from rgpt4d_plugin.modeling import BaseClasses, load
from rgpt4d_plugin.modeling.modeling_nvila import NVILAConfig, NVILAForConditionalGeneration
from rgpt4d_plugin.modeling.processing_nvila import (
    ADDED_TOKENS,
    IMAGE_TOKEN,
    VIDEO_TOKEN,
    NVILAImageProcessor,
    NVILAProcessor,
    NVILAVideoProcessor,
)
from rgpt4d_plugin.students.nvila import SYSTEM
from rgpt4d_plugin.validation import Checked, check


_PLAIN = BaseClasses(NVILAConfig, NVILAForConditionalGeneration, NVILAProcessor)

CHAT_TEMPLATE = """{%- macro parts(content) %}
{%- if content is string %}{{ content }}
{%- else %}
{%- for part in content %}
{%- if part['type'] == 'image' %}<image>
{%- elif part['type'] == 'video' %}<vila/video>
{%- else %}{{ part['text'] }}
{%- endif %}
{%- endfor %}
{%- endif %}
{%- endmacro %}
{%- if messages[0]['role'] != 'system' %}{{- '<|im_start|>system\\nSYSTEM<|im_end|>\\n' }}{%- endif %}
{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' + parts(message['content']) + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}""".replace("SYSTEM", SYSTEM)

_AGAIN = "download the folder again"
_END = "<|im_end|>"
_CHAT = [{"role": role, "content": role[0]} for role in ("system", "user", "assistant", "user")]


class ModelFolderError(ValueError):
    """A folder that is not what it should be. Names everything that is wrong with it."""

    def __init__(self, folder: Path, problems: list[str]) -> None:
        super().__init__(f"{folder} cannot be converted:\n" + "\n".join(f"  {problem}" for problem in problems))


class _Loose(Checked):
    """What counts of a published configuration; the rest of it says how the model was trained."""

    model_config = {"extra": "ignore"}


class _Published(_Loose):
    """`config.json`. Models with other values see pictures in another way than `modeling_nvila` does."""

    model_type: Literal["llava_llama"]
    image_aspect_ratio: Literal["dynamic", "resize"] = "dynamic"
    mm_vision_select_layer: Literal[-2]
    mm_vision_select_feature: Literal["cls_patch"]
    s2: Literal[False, None] = False
    dynamic_s2: Literal[False, None] = False
    ps3: Literal[False, None] = False
    mm_use_im_start_end: Literal[False] = False
    vision_resolution: Literal[-1] = -1
    num_time_tokens: Literal[0] = 0
    image_encoder: dict[str, Any] | None = None
    video_encoder: dict[str, Any] | None = None
    min_tiles: int = Field(1, ge=1)
    max_tiles: int = Field(12, ge=1)
    video_max_tiles: Literal[1] = 1
    num_video_frames: int = Field(8, ge=1)
    fps: float = Field(0.0, ge=0)
    use_time_pe: bool = False

    @field_validator("image_encoder", "video_encoder")
    @classmethod
    def _basic(cls, encoder: dict[str, Any] | None, info: ValidationInfo) -> dict[str, Any] | None:
        basic = {"image_encoder": "BasicImageEncoder", "video_encoder": "BasicVideoEncoder"}[info.field_name]
        if encoder is not None and (set(encoder) != {"_target_"} or encoder["_target_"].split(".")[-1] != basic):
            raise ValueError(f"expected {basic} without arguments, got {json.dumps(encoder)}")
        return encoder


class _LLM(_Loose):
    architectures: tuple[Literal["Qwen2ForCausalLM"]]


class _Tower(_Loose):
    model_type: Literal["siglip_vision_model"]
    vision_use_head: Literal[False]
    image_size: int = Field(gt=0)
    patch_size: int = Field(gt=0)


class _Projector(_Loose):
    mm_projector_type: Literal["mlp_downsample_3x3_fix"]


class _Pictures(_Loose):
    """`preprocessor_config.json`."""

    image_processor_type: Literal["SiglipImageProcessor"]
    size: dict[Literal["height", "width"], int]
    resample: int
    do_resize: Literal[True]
    do_rescale: bool
    rescale_factor: float
    do_normalize: bool
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]


_CONFIGS = {
    "config.json": _Published,
    "llm/config.json": _LLM,
    "vision_tower/config.json": _Tower,
    "vision_tower/preprocessor_config.json": _Pictures,
    "mm_projector/config.json": _Projector,
}


@dataclass(frozen=True)
class _Tensor:
    """Where a tensor is in the published folder, and its shape."""

    part: str
    path: Path
    name: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} in {self.part}/{self.path.name}"


def convert(src: str, out: str, tpe: bool = False) -> list[str]:
    """Writes the model of a published folder as a folder that transformers and LLaMA-Factory load.

    Args:
        src: The published folder.
        out: Folder to write.
        tpe: The model was trained with timestamp positional encoding, whether its configuration says so or not.

    Returns:
        Lines for the user: what was written, what was left out.

    Raises:
        ModelFolderError: The folder is not that of such a model, or its tensors are not those of its configuration.
    """
    source, target = Path(src), Path(out)
    check_new(target)
    found = _read_configs(source)
    tokenizer, added = _tokenizer(source / "llm")
    classes = load("nvila") if tpe or found["config.json"].use_time_pe else _PLAIN
    config = _config(source, tokenizer, classes)
    with torch.device("meta"):
        model = classes.model(config)
    tensors = _tensors(source)
    rows = _rows(source, tokenizer, tensors)
    _check(source, model, tensors, rows)

    target.mkdir(parents=True, exist_ok=True)
    _write_weights(target, tensors, config.text_config.vocab_size)
    _processor(classes.processor, found, tokenizer).save_pretrained(target)
    GenerationConfig(
        do_sample=False,
        eos_token_id=tokenizer.convert_tokens_to_ids(_END),  # as in VILA, whatever the tokenizer says
        pad_token_id=tokenizer.pad_token_id,
        # The mean of the head's rows is no reason to say them.
        suppress_tokens=list(range(rows, len(tokenizer))) or None,
    ).save_pretrained(target)
    custom_object_save(model, target, config=config)
    config.save_pretrained(target)  # last: a folder without it is no model
    lines = [
        f"{target}: {config.model_type}, {model.num_parameters() / 1e9:.2f} B parameters; tokens added to the "
        f"tokenizer: {' '.join(added) or 'none'}"
    ]
    if ignored := sorted(path.name for path in source.iterdir() if path.name not in (*PARTS, "config.json")):
        lines.append(f"left out, as no part of the model: {', '.join(ignored)}")
    return lines


def _read_configs(source: Path) -> dict[str, Any]:
    problems = [f"{name}: no such file; {_AGAIN}" for name in _CONFIGS if not (source / name).is_file()]
    whole = source / "config.json"
    if problems and whole.is_file() and read_json(whole, _AGAIN).get("model_type") == "nvila_lite":
        problems = ["config.json: a model of the form -hf; download the one without -hf, whose parts are folders"]
    if problems:
        raise ModelFolderError(source, problems)
    found = {name: check(kind, read_json(source / name, _AGAIN), name, problems) for name, kind in _CONFIGS.items()}
    tower, pictures = found["vision_tower/config.json"], found["vision_tower/preprocessor_config.json"]
    if not problems and set(pictures.size.values()) != {tower.image_size}:
        problems.append(
            f"vision_tower/preprocessor_config.json.size: expected the tower's {tower.image_size}, got {pictures.size}"
        )
    if problems:
        raise ModelFolderError(source, problems)
    return found


def _tokenizer(folder: Path) -> tuple[PreTrainedTokenizerBase, list[str]]:
    """Returns the tokenizer with VILA's tokens, and which of them it did not have."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    added = [token for token in ADDED_TOKENS if token not in tokenizer.get_vocab()]
    tokenizer.add_tokens(added, special_tokens=True)
    problems = []
    if _END not in tokenizer.get_vocab():
        problems.append(f"llm/: expected a tokenizer with {_END}, which ends a turn")
    if len(tokenizer.encode("\n", add_special_tokens=False)) != 1:
        problems.append("llm/: expected a tokenizer with one token for the newline that follows every picture")
    if tokenizer.chat_template is not None:
        for messages in (_CHAT[1:2], _CHAT[1:], _CHAT):
            theirs, ours = (
                tokenizer.apply_chat_template(
                    messages, chat_template=template, tokenize=False, add_generation_prompt=True
                )
                for template in (tokenizer.chat_template, CHAT_TEMPLATE)
            )
            if theirs != ours:
                problems.append(f"llm/: expected a chat template that writes {ours!r}, but it writes {theirs!r}")
    if problems:
        raise ModelFolderError(folder.parent, problems)
    return tokenizer, added


def _config(source: Path, tokenizer: PreTrainedTokenizerBase, classes: BaseClasses) -> Any:
    text, vision = (read_json(source / part / "config.json", _AGAIN) for part in ("llm", "vision_tower"))
    text["vocab_size"] = max(text["vocab_size"], len(tokenizer))
    image, video = tokenizer.convert_tokens_to_ids([IMAGE_TOKEN, VIDEO_TOKEN])
    config = classes.config(text_config=text, vision_config=vision, image_token_id=image, video_token_id=video)
    config.dtype = config.text_config.dtype
    config.architectures = [classes.model.__name__]
    return config


def _processor(kind: type, found: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> Any:
    published, tower = found["config.json"], found["vision_tower/config.json"]
    pictures = found["vision_tower/preprocessor_config.json"].model_dump(exclude={"image_processor_type"})
    tiling = {name: getattr(published, name) for name in ("image_aspect_ratio", "min_tiles", "max_tiles")}
    return kind(
        image_processor=NVILAImageProcessor(**pictures, **tiling),
        tokenizer=tokenizer,
        video_processor=NVILAVideoProcessor(
            **pictures, num_frames=published.num_video_frames, fps=published.fps or None
        ),
        patch_size=tower.patch_size,
        chat_template=CHAT_TEMPLATE,
    )


def _tensors(source: Path) -> dict[str, _Tensor]:
    """Returns the tensors of the three folders, by our names, from the headers of their files."""
    tensors: dict[str, _Tensor] = {}
    problems = []
    for part in PARTS:
        files = sorted((source / part).glob("*.safetensors"))
        index = source / part / "model.safetensors.index.json"
        named = set(read_json(index, _AGAIN)["weight_map"].values()) if index.is_file() else set()
        lost = named - {path.name for path in files}
        problems += [f"{part}/{name}: no such file, but the index names it; {_AGAIN}" for name in sorted(lost)]
        if not files and not lost:
            problems.append(f"{part}/: no .safetensors file; {_AGAIN}")
        for path in files:
            try:
                with safe_open(path, "pt") as file:
                    shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
            except SafetensorError as err:
                problems.append(f"{part}/{path.name}: {err}; {_AGAIN}")
                continue
            for name, shape in shapes.items():
                found = _Tensor(part, path, name, shape)
                if other := tensors.get(our_name(part, name)):
                    problems.append(f"{found}: also in {part}/{other.path.name}")
                tensors[our_name(part, name)] = found
    if problems:
        raise ModelFolderError(source, problems)
    return tensors


def _rows(source: Path, tokenizer: PreTrainedTokenizerBase, tensors: dict[str, _Tensor]) -> int:
    """Returns the rows of the published embedding table, which may lack tokens that were added to the tokenizer."""
    table = tensors.get(TABLES[0])
    rows, wanted = table.shape[0] if table else 0, read_json(source / "llm/config.json", _AGAIN)["vocab_size"]
    if table and rows != wanted:
        raise ModelFolderError(source, [f"{table}: expected a row for each of the {wanted} of vocab_size, got {rows}"])
    needed = max(tokenizer.vocab_size, tokenizer.convert_tokens_to_ids(_END) + 1)
    if table and rows < needed:
        raise ModelFolderError(source, [f"{table}: {rows} rows, but the tokenizer's words and {_END} are {needed}"])
    return rows


def _check(source: Path, model: torch.nn.Module, tensors: dict[str, _Tensor], rows: int) -> None:
    """Checks names and shapes; the tables are to have so many rows.

    A head that is tied to the table is taken out of `tensors`: some trainers save it all the same.
    """
    wanted = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    table, head = TABLES
    if model.config.tie_word_embeddings:
        del wanted[head]
        if head in tensors and table in tensors:
            if not torch.equal(_read(tensors[head]), _read(tensors[table])):
                raise ModelFolderError(source, [f"{tensors[head]}: tie_word_embeddings is true, but it is not tied"])
            del tensors[head]
    for name in wanted.keys() & set(TABLES):
        wanted[name] = (rows, *wanted[name][1:])
    lacking = [published_name(name) for name in wanted if name not in tensors]
    problems = [f"missing: {theirs} in {part}/" for part, theirs in lacking]
    for name, tensor in tensors.items():
        if name not in wanted:
            problems.append(f"{tensor}: not a tensor of the model")
        elif tensor.shape != wanted[name]:
            problems.append(f"{tensor}: expected the shape {wanted[name]}, got {tensor.shape}")
    if problems:
        raise ModelFolderError(source, problems)


def _read(tensor: _Tensor) -> torch.Tensor:
    with safe_open(tensor.path, "pt") as file:
        return file.get_tensor(tensor.name)


def _write_weights(target: Path, tensors: dict[str, _Tensor], rows: int) -> None:
    """Writes a file for every published one, so that no more than one is in memory."""
    paths = sorted({tensor.path for tensor in tensors.values()})
    places, size = {}, 0
    for number, path in enumerate(paths, start=1):
        shard = {name: _read(tensor) for name, tensor in tensors.items() if tensor.path == path}
        for name in shard.keys() & set(TABLES):
            shard[name] = _with_rows(shard[name], rows)
        file = shard_name(number, len(paths))
        save_file(shard, target / file, metadata={"format": "pt"})
        places |= dict.fromkeys(shard, file)
        size += sum(weight.nbytes for weight in shard.values())
    write_index(target, places, size)


def _with_rows(table: torch.Tensor, rows: int) -> torch.Tensor:
    """Returns a table with rows for the tokens that VILA adds: their mean, around which VILA draws its own at random.

    None of them counts: pictures take the place of these tokens, and they are not generated.
    """
    mean = table.float().mean(0, keepdim=True).to(table.dtype)
    return torch.cat([table, mean.expand(rows - len(table), -1)])
