# SPDX-License-Identifier: Apache-2.0
"""`nvila`: NVILA-Lite, which transformers does not have, made of its SigLIP and its Qwen2 with a projector between.

Each picture (an image, a tile of one, a frame) goes through the vision tower as one square, its patches are joined in
blocks of 3 x 3 and projected. The language model sees the projected tokens in the place of `<image>` and
`<vila/video>`; the newline that follows each picture is an ordinary token of the text. Positions are 0, 1, 2, ... and
attention is causal everywhere. Numbers and names of NVlabs/VILA, commit b760c34.
"""

import math

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import AutoConfig, AutoModel, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.activations import ACT2FN
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast


@strict
class NVILAConfig(PreTrainedConfig):
    """Configuration: that of the two parts, and what is between them.

    `downsample` is the number of patches along a side of what becomes one token. `image_token_id` and `video_token_id`
    stand for one projected token of an image and of a clip.
    """

    model_type = "nvila"
    sub_configs = {"text_config": AutoConfig, "vision_config": AutoConfig}
    _auto_class = "AutoConfig"

    text_config: dict | PreTrainedConfig | None = None
    vision_config: dict | PreTrainedConfig | None = None
    image_token_id: int = 151649
    video_token_id: int = 151650
    downsample: int = 3
    projector_hidden_act: str = "gelu"
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs):
        self.text_config = _part(self.text_config, "qwen2")
        self.vision_config = _part(self.vision_config, "siglip_vision_model", vision_use_head=False)
        self.tie_word_embeddings = self.text_config.tie_word_embeddings
        super().__post_init__(**kwargs)


def _part(config: dict | PreTrainedConfig | None, model_type: str, **defaults) -> PreTrainedConfig:
    """Returns the configuration of a part."""
    if isinstance(config, PreTrainedConfig):
        return config
    return AutoConfig.for_model(**{"model_type": model_type, **defaults, **(config or {})})


class NVILAPreTrainedModel(PreTrainedModel):
    """What the library wants to know of the model."""

    config_class = NVILAConfig
    base_model_prefix = "model"
    input_modalities = ("image", "text", "video")
    supports_gradient_checkpointing = True
    _skip_keys_device_placement = "past_key_values"
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True


class NVILAProjector(nn.Module):
    """Blocks of patches to tokens of the language model: `mlp_downsample_3x3_fix` of VILA."""

    def __init__(self, config: NVILAConfig) -> None:
        super().__init__()
        vision, text = config.vision_config.hidden_size, config.text_config.hidden_size
        self.downsample = config.downsample
        self.norm_1 = nn.LayerNorm(vision * self.downsample**2)
        self.linear_1 = nn.Linear(vision * self.downsample**2, vision * 3)
        self.norm_2 = nn.LayerNorm(vision * 3)
        self.linear_2 = nn.Linear(vision * 3, text)
        self.linear_3 = nn.Linear(text, text)
        self.act = ACT2FN[config.projector_hidden_act]

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Projects the patches of pictures, (n, s * s, vision width) row by row, to (n, tokens, text width)."""
        hidden = self.act(self.linear_1(self.norm_1(blocks_of(patches, self.downsample))))
        return self.linear_3(self.act(self.linear_2(self.norm_2(hidden))))


def blocks_of(patches: torch.Tensor, side: int) -> torch.Tensor:
    """Joins blocks of side x side patches, each patch's channels behind those of the one before, row by row.

    Zeros fill the grid up below and on the right: 32 x 32 patches become 11 x 11 blocks of 3 x 3.

    Args:
        patches: (n, s * s, C).
        side: Patches along a side of a block.

    Returns:
        (n, b * b, side * side * C) with b = ceil(s / side).
    """
    count, length, channels = patches.shape
    edge = math.isqrt(length)
    grid = nn.functional.pad(patches.view(count, edge, edge, channels), (0, 0, 0, -edge % side, 0, -edge % side))
    blocks = grid.shape[1] // side
    grid = grid.view(count, blocks, side, blocks, side, channels).transpose(2, 3)
    return grid.reshape(count, blocks**2, side**2 * channels)


class NVILAModel(NVILAPreTrainedModel):
    """Vision tower, projector and language model without its head."""

    def __init__(self, config: NVILAConfig) -> None:
        super().__init__(config)
        self.vision_tower = AutoModel.from_config(config.vision_config)
        self.multi_modal_projector = NVILAProjector(config)
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def picture_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Returns the projected tokens (n, tokens, text width) of pictures (n, 3, H, W)."""
        tower = self.vision_tower.vision_model
        hidden = tower.embeddings(pixel_values.to(self.vision_tower.dtype))
        # The model was trained on the output of the last layer but one: the last, and the norm behind it, are not run.
        for layer in tower.encoder.layers[:-1]:
            hidden = layer(hidden, None)
        return self.multi_modal_projector(hidden)

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        pixel_values_videos: torch.FloatTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values=None,
        inputs_embeds: torch.FloatTensor | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPast:
        """Runs the model.

        Args:
            input_ids: (B, L) with a token for every projected token of a picture.
            pixel_values: (pictures, 3, H, W) of images and tiles, in the order of their tokens.
            pixel_values_videos: (frames, 3, H, W) of all clips, in the order of their tokens.
            attention_mask: See `Qwen2Model`, as the rest.
            position_ids: See there.
            past_key_values: See there.
            inputs_embeds: (B, L, text width) in place of `input_ids`, with what the pictures show.
            **kwargs: See there.

        Raises:
            ValueError: Tokens and pictures do not fit each other.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give input_ids or inputs_embeds, and not both")
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        elif pixel_values is not None or pixel_values_videos is not None:
            raise ValueError("pictures need input_ids, which say where they are shown")
        given = [
            (name, pixels, token)
            for name, pixels, token in (
                ("pixel_values", pixel_values, self.config.image_token_id),
                ("pixel_values_videos", pixel_values_videos, self.config.video_token_id),
            )
            if pixels is not None
        ]
        if given:
            # At once: under ZeRO-3 and FSDP every process must run the tower as often as the others.
            features = self.picture_features(torch.cat([pixels for _, pixels, _ in given]))
            features = features.to(inputs_embeds.device, inputs_embeds.dtype)
            for (name, pixels, token), shown in zip(given, features.split([len(pixels) for _, pixels, _ in given])):
                here = input_ids == token
                found, expected = int(here.sum()), shown.shape[0] * shown.shape[1]
                if found != expected:
                    raise ValueError(f"{name} of {len(pixels)} pictures need {expected} tokens {token}, found {found}")
                inputs_embeds = inputs_embeds.masked_scatter(here.unsqueeze(-1), shown)
        return self.language_model(
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            **kwargs,
        )


class NVILAForConditionalGeneration(NVILAPreTrainedModel, GenerationMixin):
    """NVILA-Lite with its language model's head."""

    _tied_weights_keys = {"lm_head.weight": "model.language_model.embed_tokens.weight"}

    def __init__(self, config: NVILAConfig) -> None:
        super().__init__(config)
        # On the object, not the class, which would make transformers take the model for one from a repository.
        self._auto_class = "AutoModelForImageTextToText"
        self.model = NVILAModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        pixel_values_videos: torch.FloatTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values=None,
        inputs_embeds: torch.FloatTensor | None = None,
        labels: torch.LongTensor | None = None,
        image_tiles: torch.LongTensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs,
    ) -> CausalLMOutputWithPast:
        """Runs the model; see `NVILAModel.forward`.

        Args:
            labels: (B, L) ids, -100 where there is no loss.
            image_tiles: (images,) pictures of each image, more than one for an image in tiles. To the model they are
                all alike; who reads the inputs needs it.
            logits_to_keep: How many last positions, or which ones, have logits; 0 for all.
        """
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            pixel_values_videos=pixel_values_videos,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, kept, :])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.lm_head.out_features, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def prepare_inputs_for_generation(
        self, input_ids, pixel_values=None, pixel_values_videos=None, is_first_iteration=False, **kwargs
    ):
        inputs = super().prepare_inputs_for_generation(input_ids, is_first_iteration=is_first_iteration, **kwargs)
        if is_first_iteration or not kwargs.get("use_cache", True):
            # Later on the pictures are in the cache.
            inputs |= {"pixel_values": pixel_values, "pixel_values_videos": pixel_values_videos}
        return inputs
