# SPDX-License-Identifier: Apache-2.0
"""The processor of `nvila`: pictures, clips and the tokens that stand for them.

A picture is scaled to one square, whatever its shape. After the tokens of every picture stands a newline, as a token
of its own: were it text, Qwen's tokenizer would join it with a newline that follows to one token. Numbers and rules of
NVlabs/VILA, commit b760c34.
"""

import itertools
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import BatchFeature, ProcessorMixin
from transformers.image_utils import make_flat_list_of_images
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.processing_utils import ProcessingKwargs
from transformers.video_processing_utils import BaseVideoProcessor


IMAGE_TOKEN = "<image>"
VIDEO_TOKEN = "<vila/video>"
NEWLINE_MARK = "<vila/sentinel>"
"""Stands for the newline after a picture while text is tokenized; otherwise this token of VILA is not used."""

ADDED_TOKENS = (NEWLINE_MARK, IMAGE_TOKEN, VIDEO_TOKEN)
"""What VILA adds to the tokenizer when it loads a model, in this order; of some models they are saved with it."""

_STEPS = ("do_resize", "size", "resample", "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std")


def with_newlines(ids: list[int], tokenizer: Any) -> list[int]:
    """Returns the tokens of a text with newlines in place of the marks."""
    mark = tokenizer.convert_tokens_to_ids(NEWLINE_MARK)
    (newline,) = tokenizer.encode("\n", add_special_tokens=False)
    return [newline if token == mark else token for token in ids]


class NVILAImageProcessor(SiglipImageProcessorPil):
    """SigLIP's, with Pillow as the model was trained: torchvision's resizing differs by a level here and there.

    `image_aspect_ratio` is "dynamic", an only image is also shown in tiles, or "resize", it is not. `min_tiles` and
    `max_tiles` bound their number.
    """

    _auto_class = "AutoImageProcessor"

    image_mean = [0.5, 0.5, 0.5]
    image_std = [0.5, 0.5, 0.5]
    size = {"height": 448, "width": 448}

    def __init__(
        self, image_aspect_ratio: str = "dynamic", min_tiles: int = 1, max_tiles: int = 12, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.image_aspect_ratio, self.min_tiles, self.max_tiles = image_aspect_ratio, min_tiles, max_tiles

    def tile_grid(self, width: int, height: int) -> tuple[int, int]:
        """Returns the tiles (columns, rows) of an image: of the nearest shape, of two as near the one with more tiles
        if the image has more than half of their pixels."""
        grids = sorted(
            (
                (columns, rows)
                for rows in range(1, self.max_tiles + 1)
                for columns in range(1, self.max_tiles // rows + 1)
                if columns * rows >= self.min_tiles
            ),
            key=math.prod,
        )
        best, smallest = (1, 1), math.inf
        for columns, rows in grids:
            difference = abs(width / height - columns / rows)
            pixels = self.size["height"] * self.size["width"] * columns * rows
            if difference < smallest or (difference == smallest and width * height > 0.5 * pixels):
                best, smallest = (columns, rows), difference
        return best

    def pictures_of(self, width: int, height: int) -> int:
        """Returns the number of `tiles` of an image."""
        count = math.prod(self.tile_grid(width, height)) if self.image_aspect_ratio == "dynamic" else 1
        return count if count == 1 else count + 1

    def tiles(self, image: Image.Image) -> list[Image.Image]:
        """Returns the tiles of an image row by row, and the whole image behind them if there are several."""
        if self.image_aspect_ratio != "dynamic":
            return [image]
        columns, rows = self.tile_grid(*image.size)
        width, height = self.size["width"], self.size["height"]
        scaled = image.convert("RGB").resize((width * columns, height * rows), Image.Resampling(self.resample))
        corners = [(x * width, y * height) for y in range(rows) for x in range(columns)]
        tiles = [scaled.crop((x, y, x + width, y + height)) for x, y in corners]
        return tiles if len(tiles) == 1 else [*tiles, image]


class NVILAVideoProcessor(BaseVideoProcessor):
    """Every frame as the image processor makes a picture.

    `pixel_values_videos` are (frames, 3, H, W) of all clips, one clip after the other, which may differ in length;
    without `return_tensors` a list with the frames of each clip. `num_frames` are spread over a clip from its first
    frame to its last; with `fps` they are that far apart, from the first on.
    """

    _auto_class = "AutoVideoProcessor"

    resample = 3  # bicubic
    image_mean = [0.5, 0.5, 0.5]
    image_std = [0.5, 0.5, 0.5]
    size = {"height": 448, "width": 448}
    do_resize = True
    do_rescale = True
    do_normalize = True
    do_convert_rgb = True
    do_sample_frames = True
    num_frames = 8

    def sample_frames(
        self, metadata: Any, num_frames: int | None = None, fps: float | None = None, **kwargs: Any
    ) -> np.ndarray:
        """Returns the numbers of the frames that are shown; of a short clip some more than once."""
        count = num_frames or self.num_frames
        if not fps:
            return np.round(np.linspace(0, metadata.total_num_frames - 1, count)).astype(int)
        if metadata.fps is None:
            raise ValueError("fps: the frame rate of the clip is not known; pass it in video_metadata, or num_frames")
        seconds = np.arange(0, metadata.total_num_frames / metadata.fps, 1 / fps)[:count]
        return (seconds * metadata.fps).astype(int)

    def _preprocess(
        self, videos: list[torch.Tensor], do_convert_rgb: bool, return_tensors: str | None = None, **kwargs: Any
    ) -> BatchFeature:
        steps = {name: kwargs[name] for name in _STEPS}
        pictures = SiglipImageProcessorPil()
        clips = []
        for frames in videos:
            frames = list((self.convert_to_rgb(frames) if do_convert_rgb else frames).cpu().numpy())
            made = pictures._preprocess(
                frames,
                do_center_crop=False,
                crop_size=None,
                do_pad=False,
                pad_size=None,
                return_tensors=None,
                **steps,
            )
            clips.append(torch.from_numpy(np.stack(made["pixel_values"])))
        if return_tensors is None:
            return BatchFeature({"pixel_values_videos": clips})
        return BatchFeature({"pixel_values_videos": torch.cat(clips)}, tensor_type=return_tensors)


class NVILAProcessor(ProcessorMixin):
    """Pictures and text to the inputs of the model.

    `downsample` is that of the model's configuration, `patch_size` that of its vision tower.
    """

    _auto_class = "AutoProcessor"

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        video_processor: Any = None,
        patch_size: int = 14,
        downsample: int = 3,
        chat_template: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.patch_size, self.downsample = patch_size, downsample
        self.image_token, self.video_token = IMAGE_TOKEN, VIDEO_TOKEN
        self.image_token_id, self.video_token_id = tokenizer.convert_tokens_to_ids([IMAGE_TOKEN, VIDEO_TOKEN])
        super().__init__(image_processor, tokenizer, video_processor, chat_template=chat_template)

    @property
    def side(self) -> int:
        """Tokens along a side of a picture."""
        return -(-(self.image_processor.size["height"] // self.patch_size) // self.downsample)

    def written(self, token: str, pictures: int) -> str:
        """Returns the text of so many pictures in a row."""
        return (token * self.side**2 + NEWLINE_MARK) * pictures

    def written_tiles(self, tiles: int) -> str:
        """Returns the text of an image that is shown in tiles: a newline of the text follows each of them."""
        return (self.written(IMAGE_TOKEN, 1) + "\n") * tiles

    def __call__(self, images: Any = None, text: Any = None, videos: Any = None, **kwargs: Any) -> BatchFeature:
        """Returns `input_ids`, `attention_mask`, and the pictures as `NVILAForConditionalGeneration` takes them.

        Args:
            images: For each `<image>` of the text, in order. In a row with no other image and no clip it is also shown
                in tiles.
            text: A row or several.
            videos: Files or decoded frames, for each `<vila/video>` of the text, in order.
            **kwargs: Of tokenizer, image and video processor.

        Raises:
            ValueError: There is no text, or it does not have as many placeholders as there are images or videos.
        """
        if text is None:
            raise ValueError("text: missing")
        rows = [text] if isinstance(text, str) else list(text)
        merged = self._merge_kwargs(ProcessingKwargs, tokenizer_init_kwargs=self.tokenizer.init_kwargs, **kwargs)
        tensors = merged["text_kwargs"].pop("return_tensors", None)
        for options in (merged["images_kwargs"], merged["videos_kwargs"]):
            options.pop("return_tensors", None)
        types = merged["text_kwargs"].pop("return_mm_token_type_ids", False)

        media: dict[str, Any] = {}
        clips: list[torch.Tensor] = []
        if videos is not None:
            media = dict(self.video_processor(videos, **merged["videos_kwargs"]))
            clips = media["pixel_values_videos"]
            media["pixel_values_videos"] = torch.cat(list(clips))
        images = [] if images is None else make_flat_list_of_images(self.image_processor.fetch_images(images))
        for token, given in ((IMAGE_TOKEN, images), (VIDEO_TOKEN, clips)):
            if (asked := sum(row.count(token) for row in rows)) != len(given):
                raise ValueError(f"the text has {asked} {token} for {len(given)} of them")

        shown: list[list[Any]] = []
        left, lengths = iter(images), map(len, clips)
        expanded = [self._expanded(row, left, lengths, shown) for row in rows]
        if images:
            pictures = [picture for tiles in shown for picture in tiles]
            media |= self.image_processor(pictures, return_tensors="pt", **merged["images_kwargs"])
            media["image_tiles"] = torch.tensor([len(tiles) for tiles in shown])
        inputs = self.tokenizer(expanded, **merged["text_kwargs"])
        inputs["input_ids"] = [with_newlines(ids, self.tokenizer) for ids in inputs["input_ids"]]
        if types:
            inputs["mm_token_type_ids"] = self.create_mm_token_type_ids(inputs["input_ids"])
        return BatchFeature({**inputs, **media}, tensor_type=tensors)

    def _expanded(self, row: str, images: Iterator[Any], clips: Iterator[int], shown: list[list[Any]]) -> str:
        """Returns a row with all tokens of its media; adds the pictures of each of its images to `shown`."""
        parts = re.split(f"({re.escape(IMAGE_TOKEN)}|{re.escape(VIDEO_TOKEN)})", row)
        media = parts[1::2]
        here = list(itertools.islice(images, media.count(IMAGE_TOKEN)))
        if media == [IMAGE_TOKEN] and self.image_processor.image_aspect_ratio == "dynamic":
            shown.append(self.image_processor.tiles(_pillow(here[0])))
            parts[1] = self.written_tiles(len(shown[-1]))
        else:
            shown += [[image] for image in here]
            parts[1::2] = [self.written(token, next(clips) if token == VIDEO_TOKEN else 1) for token in media]
        return "".join(parts)

    @property
    def model_input_names(self) -> list[str]:
        return [*self.tokenizer.model_input_names, "pixel_values", "image_tiles", "pixel_values_videos"]


def _pillow(image: Any) -> Image.Image:
    return image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image))
