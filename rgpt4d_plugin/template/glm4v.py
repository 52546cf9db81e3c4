# SPDX-License-Identifier: Apache-2.0
"""The reader for GLM-4.1V to GLM-4.6V, whose clips the host's plugin cannot read with transformers 5."""

from typing import Any

from llamafactory.data.mm_plugin import Qwen3VLPlugin

from rgpt4d_plugin.students.glm4v import joined
from rgpt4d_plugin.template.clip_reader import ClipReader, read_context


class _ProcessorCalls:
    """Stands between the reader and the host's GLM4VPlugin, and calls the processor as it is in transformers 5.

    The host (0.9.5 and main) gives the video processor an argument that it refuses by now, and expects the times of
    frames from it, which it no longer returns. The host's Qwen3-VL plugin calls a processor of the same kind right.
    """

    def _get_mm_inputs(self, images: list, videos: list, audios: list, processor: Any) -> dict[str, Any]:
        inputs = None
        if videos and read_context().counting:
            inputs = self._get_mm_token_metadata(images, videos, audios, processor)
        if inputs is None:
            inputs = Qwen3VLPlugin._get_mm_inputs(self, images, videos, audios, processor)
        if "video_metadata" in inputs:
            # What the host writes behind each step: the text of the time at which it begins.
            inputs["timestamps"] = [
                [
                    processor.replace_frame_token_id(index / metadata.fps).split("<|end_of_image|>")[1]
                    for index in metadata.frames_indices[:: processor.video_processor.temporal_patch_size]
                ]
                for metadata in inputs.pop("video_metadata")
            ]
        return inputs

    def _get_video_token_metadata(self, videos: list, processor: Any) -> dict[str, Any] | None:
        return Qwen3VLPlugin._get_video_token_metadata(self, videos, processor)

    def _get_qwen_video_resize(
        self,
        num_frames: int,
        height: int,
        width: int,
        patch_size: int,
        temporal_patch_size: int,
        merge_size: int,
        min_pixels: int,
        max_pixels: int,
    ) -> tuple[int, int]:
        from transformers.models.glm4v.image_processing_glm4v import smart_resize

        factor = patch_size * merge_size
        return smart_resize(num_frames, height, width, temporal_patch_size, factor, min_pixels, max_pixels)


class Glm4vReader(ClipReader, _ProcessorCalls):
    """Gives the model clips and images as it can take both, see `students.glm4v`."""

    counts_each_clip = True  # the host's own template, which reads no clip without this reader, too

    def get_mm_inputs(
        self,
        images: list,
        videos: list,
        audios: list,
        imglens: list[int],
        vidlens: list[int],
        audlens: list[int],
        batch_ids: list[list[int]],
        processor: Any,
    ) -> dict[str, Any]:
        inputs = super().get_mm_inputs(images, videos, audios, imglens, vidlens, audlens, batch_ids, processor)
        media = list(zip(imglens, vidlens, strict=True))
        return joined(inputs, media, batch_ids, processor.tokenizer)
