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
    AutoModel,
    AutoModelForZeroShotObjectDetection,
    AutoProcessor,
    Sam3Model,
    Sam3Processor,
    Sam3TrackerVideoModel,
    Sam3TrackerVideoProcessor,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION_MAPPING_NAMES as DETECTORS

from rgpt4d_plugin.curation.recipe import Grounding, Model


_NOT_THERE = "the model must be a folder with a model and its processor, or its name on the hub"
_SAM3 = ("sam3", "sam3_video")
"""Types of SAM 3's checkpoints, whose file holds the detector and the tracker."""


@dataclass(frozen=True)
class Detection:
    """A box [x1, y1, x2, y2] in pixels of the picture that a phrase was found in."""

    phrase: str
    box: list[float]
    score: float


class Detector:
    """GroundingDINO, MM-GroundingDINO, OWLv2 (or another zero-shot detector), or SAM 3 by text.

    Raises:
        ValueError: The model is of another type, or cannot be loaded.
    """

    def __init__(self, options: Grounding) -> None:
        assert options.model is not None
        self._options, self._device = options, options.model.device
        name = options.model.model
        kind = _type_of(name)
        self._is_sam = kind in _SAM3
        if not self._is_sam and kind not in DETECTORS:
            known = ", ".join([*DETECTORS, "sam3"])
            raise ValueError(f"grounding.model: {name} is a {kind}, which finds no phrases; known types: {known}")
        self._processor = _load(Sam3Processor if self._is_sam else AutoProcessor, name)
        model = _load(Sam3Model if self._is_sam else AutoModelForZeroShotObjectDetection, name)
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
            words = {"text_threshold": self._options.text_threshold} if hasattr(inputs, "input_ids") else {}
            post = self._processor.post_process_grounded_object_detection
            if "text_threshold" not in post.__code__.co_varnames:
                words = {}
            (result,) = post(outputs, threshold=threshold, target_sizes=size, **words)
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
        if kind == "sam2":  # published checkpoints of SAM 2 say so, and hold the tracker as well
            from transformers import Sam2VideoModel as model
        else:
            model = Sam3TrackerVideoModel if of_sam3 else AutoModel
        self._model = _load(model, options.model).to(options.device).eval()
        if of_sam3:
            self._processor = _load(Sam3TrackerVideoProcessor, options.model)
        else:
            from transformers import Sam2VideoProcessor

            self._processor = _load(Sam2VideoProcessor, options.model)
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


def _load(kind: Any, name: str) -> Any:
    try:
        return kind.from_pretrained(name)
    except (OSError, ValueError, KeyError) as err:
        raise ValueError(f"{name}: {err} ({_NOT_THERE})") from err
