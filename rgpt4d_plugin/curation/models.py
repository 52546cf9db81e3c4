# SPDX-License-Identifier: Apache-2.0
"""Grounding and tracking models of transformers, from the hub or a folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoModelForZeroShotObjectDetection,
    AutoProcessor,
    Sam2VideoModel,
    Sam2VideoProcessor,
    Sam3Model,
    Sam3Processor,
    Sam3TrackerVideoModel,
    Sam3TrackerVideoProcessor,
)

from rgpt4d_plugin.curation.recipe import Grounding, Model


_NOT_THERE = "the model must be a folder with a model and its processor, or its name on the hub"
_DINO = ("grounding-dino", "mm-grounding-dino")
_SAM3 = ("sam3", "sam3_video")
"""Types of SAM 3's checkpoints, whose file holds the detector and the tracker."""


@dataclass(frozen=True)
class Detection:
    """A box [x1, y1, x2, y2] in pixels of the picture that a phrase was found in."""

    phrase: str
    box: list[float]
    score: float


class Detector:
    """GroundingDINO, MM-GroundingDINO, OWL-ViT, OWLv2, or SAM 3 by text.

    Raises:
        ValueError: The model is of another type, or cannot be loaded.
    """

    def __init__(self, options: Grounding) -> None:
        assert options.model is not None
        self._options, self._device = options, options.model.device
        name = options.model.model
        kind = _type_of(name)
        self._is_sam = kind in _SAM3
        types = (*_DINO, "owlv2", "owlvit", *_SAM3)
        if kind not in types:
            raise ValueError(
                f"grounding.model: {name} is a {kind}, which finds no phrases; known types: {', '.join(types)}"
            )
        self._words = {"text_threshold": options.text_threshold} if kind in _DINO else {}
        self._processor = _load(Sam3Processor if self._is_sam else AutoProcessor, name)
        model = _load_whole(Sam3Model if self._is_sam else AutoModelForZeroShotObjectDetection, name)
        self._model = model.to(self._device).eval()

    @torch.inference_mode()
    def __call__(self, picture: Image.Image, phrases: Sequence[str]) -> list[Detection]:
        """Finds phrases in a picture, the best first. Each is asked alone, so that no label has to be guessed."""
        found = [detection for phrase in phrases for detection in self._find(picture, phrase)]
        return sorted(found, key=lambda detection: -detection.score)

    def _find(self, picture: Image.Image, phrase: str) -> list[Detection]:
        size = [(picture.height, picture.width)]
        text = phrase if self._is_sam else [[phrase.lower()]]
        inputs = self._processor(images=picture, text=text, return_tensors="pt").to(self._device)
        outputs = self._model(**inputs)
        threshold = self._options.threshold
        if self._is_sam:
            (result,) = self._processor.post_process_instance_segmentation(outputs, threshold, target_sizes=size)
        else:
            post = self._processor.post_process_grounded_object_detection
            (result,) = post(outputs, threshold=threshold, target_sizes=size, **self._words)
        pairs = zip(result["boxes"].tolist(), result["scores"].tolist(), strict=True)
        return [Detection(phrase, box, score) for box, score in pairs]


class Tracker:
    """SAM 2's or SAM 3's video tracker.

    Raises:
        ValueError: The model is of another type, or cannot be loaded.
    """

    def __init__(self, options: Model) -> None:
        kind = _type_of(options.model)
        types = ("sam2_video", "sam2", "sam3_tracker_video", *_SAM3)
        if kind not in types:
            known = ", ".join(types)
            raise ValueError(
                f"tracking.model: {options.model} is a {kind}, which follows no boxes; known types: {known}"
            )
        of_sam3 = kind.startswith("sam3")
        model = _load_whole(Sam3TrackerVideoModel if of_sam3 else Sam2VideoModel, options.model)
        self._model = model.to(options.device).eval()
        self._processor = _load(Sam3TrackerVideoProcessor if of_sam3 else Sam2VideoProcessor, options.model)
        self._device = options.device

    @torch.inference_mode()
    def __call__(
        self, frames: Sequence[Image.Image], start: int, boxes: Sequence[Sequence[float]]
    ) -> list[list[np.ndarray]]:
        """Follows boxes of one frame through all frames, both ways.

        Returns:
            Per box its masks bool (H, W), one a frame; empty where it is not seen.
        """
        session = self._processor.init_video_session(video=list(frames), inference_device=self._device)
        numbers = list(range(1, len(boxes) + 1))
        self._processor.add_inputs_to_inference_session(
            session, frame_idx=start, obj_ids=numbers, input_boxes=[[list(map(float, box)) for box in boxes]]
        )
        size = [(frames[0].height, frames[0].width)]
        masks = [[np.zeros(size[0], bool)] * len(frames) for _ in boxes]
        self._model(inference_session=session, frame_idx=start)
        for reverse in (False, True):
            for output in self._model.propagate_in_video_iterator(session, start, reverse=reverse):
                (found,) = self._processor.post_process_masks([output.pred_masks], size)
                for number, mask in zip(output.object_ids or numbers, found, strict=True):
                    masks[number - 1][output.frame_idx] = mask[0].cpu().numpy().astype(bool)
        return masks


def _type_of(name: str) -> Any:
    return _load(AutoConfig, name).model_type


def _load_whole(kind: Any, name: str) -> Any:
    """Loads a model; ValueError if the checkpoint lacks weights, which would be random numbers otherwise."""
    model, about = _load(kind, name, output_loading_info=True)
    if missing := sorted(about["missing_keys"]):
        first = ", ".join(missing[:3])
        raise ValueError(
            f"{name} lacks {len(missing)} weights of {kind.__name__}, the first {first}; take another model"
        )
    return model


def _load(kind: Any, name: str, **options: Any) -> Any:
    try:
        return kind.from_pretrained(name, **options)
    except (OSError, ValueError, KeyError) as err:
        raise ValueError(f"{name}: {err} ({_NOT_THERE})") from err
