# SPDX-License-Identifier: Apache-2.0
"""Seam: a template's multimodal plugin, which also reads clips, draws marks and hands its frames to the teacher.

It sits on names of `llamafactory.data.mm_plugin.MMPluginMixin` (the same in 0.9.5 and main of August 2026): the host
decodes a clip in `_regularize_videos` and resizes each frame in `_preprocess_image`. So no video is decoded twice, and
the teacher sees the very frames that the student saw, before any resizing and without the marks of region prompts. The
host's own plugin objects stay untouched. An entry that is a plain path goes through the host's own code and comes out
as the host makes it; the code of regions is imported for other entries only. To be removed when the host passes frames
to collators.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

import av
import torch
from llamafactory.extras.constants import IMAGE_PLACEHOLDER, VIDEO_PLACEHOLDER
from PIL import Image

from rgpt4d_plugin.arguments import P4DArguments, RegionArguments, TimestampEncoding, VideoArguments
from rgpt4d_plugin.template.record_lookup import where_used
from rgpt4d_plugin.video import MediaError, SeenClip, VideoError
from rgpt4d_plugin.video.clip import open_video
from rgpt4d_plugin.video.entries import Clip, has_prefix, plain_clip, span
from rgpt4d_plugin.video.frames import VideoInfo, read_frames, read_info
from rgpt4d_plugin.video.sampling import spread_in_time


HOST_NAMES = ("_regularize_images", "_regularize_videos", "_preprocess_image", "_get_video_sample_indices")
"""Methods of the host that the reader and its subclasses override."""


@dataclass(frozen=True)
class P4DSettings:
    """The settings of a `p4d:` block that count wherever a model is shown clips, in training as at inference.

    The parser sets one object on the host's `model_args` and `data_args`, as `p4d`. `frames` are `p4d.frames`, None
    for the host's own rule; with `sentences` each clip's length is said in words, `p4d.tpe: text`.
    """

    frames: int | None = None
    sentences: bool = False
    encoding: TimestampEncoding | None = None
    regions: RegionArguments = RegionArguments()
    video: VideoArguments = VideoArguments()

    @classmethod
    def of(cls, p4d: P4DArguments) -> "P4DSettings":
        """Returns the settings of a parsed block."""
        return cls(p4d.frames, p4d.tpe == "text", p4d.encoding, p4d.regions, p4d.video)


@dataclass
class Reading:
    """The video that the host is reading.

    Attributes:
        entry: The video as it stands in the sample's `videos`.
        clip: The clip of a path; None for a list of frames or a file object.
        count: Number of frames of a list; None for a video that the host decodes.
        indices: Numbers of the frames that are shown, in the source video.
        start: Seconds of the file at which the clip starts.
        seconds: Time of every shown frame from there.
        marks: Position among the shown frames -> marks.
        raw: Frames as decoded, one by one.
        stored: Where the clip's pixels are kept, with `p4d.video.cache`.
    """

    entry: Any
    clip: Clip | None
    count: int | None = None
    info: VideoInfo | None = None
    indices: list[int] | None = None
    start: float = 0.0
    seconds: list[float] | None = None
    marks: dict[int, list[Any]] = field(default_factory=dict)
    raw: Any = field(default_factory=list)
    stored: Any = None

    @property
    def name(self) -> str:
        """Name of the video in messages."""
        if self.clip is not None:
            return self.clip.path
        return f"list of {self.count} frames" if self.count is not None else "video"

    @property
    def is_handed_over(self) -> bool:
        """Whether the host gets decoded frames, because it would decode others, or the same ones sideways."""
        return self.clip is not None and (self.clip.is_part or not self.info.is_as_the_host_reads_it)


@dataclass(frozen=True)
class ReadContext:
    """Why the host is calling the plugin's methods; the host does not say, and calls the same ones for everything.

    Attributes:
        counting: Tokens are counted: sizes are enough, and nothing is decoded for a video's single frame.
        times: The frame times of the clips read so far, where the host's chat engine builds its inputs.
        on_clip: Gets every clip that is decoded, see `ClipReader.recording`.
    """

    counting: bool = False
    reading: Reading | None = None
    times: list[list[float]] | None = None
    on_clip: Callable[[SeenClip], None] | None = None


asked_media: list[Any] = []
"""Videos and images of the record whose tokens are made next."""

_context: ContextVar[ReadContext | None] = ContextVar("rgpt4d_read_context", default=None)


def read_context() -> ReadContext:
    """Returns the context of the call that is being made."""
    return _context.get() or ReadContext()


@contextmanager
def reading_with(**changes: Any) -> Iterator[ReadContext]:
    """Changes fields of the context for the duration of a block."""
    context = replace(read_context(), **changes)
    token = _context.set(context)
    try:
        yield context
    finally:
        _context.reset(token)


class ClipReader:
    """Mixin in front of a host plugin class. Its objects hold settings only; the call's state is in `ReadContext`."""

    host_class: type
    settings: P4DSettings = P4DSettings()
    counts_each_clip: bool = False
    """Tokens are counted medium by medium: the host's Qwen3-VL plugin (0.9.5; mended on main) takes the length of all
    clips from the first, and the times of a clip from the place of its message."""
    pairs_frames: bool = True
    """The host repeats a clip's last frame where their number is odd, as it does for Qwen-VL."""

    def process_messages(self, messages: list, images: list, videos: list, audios: list, processor: Any) -> list:
        host = super().process_messages
        asked_media[:] = [*videos, *images]
        with reading_with(counting=True):
            if not self.counts_each_clip or len(videos) + (VIDEO_PLACEHOLDER not in messages[0]["content"]) < 2:
                return host(messages, images, videos, audios, processor)
            self._validate_input(processor, images, videos, audios)
            self._validate_messages(messages, images, videos, audios)
            media = {IMAGE_PLACEHOLDER: iter(images), VIDEO_PLACEHOLDER: iter(videos)}

            def expanded(found: re.Match) -> str:
                one = next(media[found[0]])
                lists = ([one], []) if found[0] == IMAGE_PLACEHOLDER else ([], [one])
                return host([{"role": "user", "content": found[0]}], *lists, [], processor)[0]["content"]

            placeholders = "|".join(map(re.escape, media))
            return [{**message, "content": re.sub(placeholders, expanded, message["content"])} for message in messages]

    def get_mm_inputs(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        inputs = super().get_mm_inputs(*args, **kwargs)
        if read_context().times is not None:
            # The host's Qwen3-VL plugin leaves its notes on the clips in, which its chat engine takes for numbers.
            inputs.pop("video_metadata", None)
        return inputs

    @contextmanager
    def recording(self, on_clip: Callable[[SeenClip], None]) -> Iterator[None]:
        """Calls `on_clip` with every clip that is decoded inside the block, in order."""
        with reading_with(on_clip=on_clip):
            yield

    @contextmanager
    def asked(self) -> Iterator[list[list[float]]]:
        """Gives the frame times of the clips that are read inside the block, where the host's chat engine builds its
        inputs."""
        with reading_with(times=[]) as context:
            yield context.times

    def _get_video_token_metadata(self, videos: list, processor: Any) -> dict[str, Any] | None:
        # One at a time, so that the reading knows its clip; the host's results are then joined clip by clip.
        if not videos:
            return super()._get_video_token_metadata(videos, processor)
        results = []
        for video in videos:
            with self._p4d_read(video) as reading:
                if reading.info is not None and reading.info.rotation:
                    return None  # the host takes the size from the header
                entry = video if reading.clip is None else reading.clip.path
                result = super()._get_video_token_metadata([entry], processor)
                if result is None:  # the host wants the frames to count tokens
                    return None
                for note in result.get("video_metadata", ()) if self._p4d_has_own_times(reading) else ():
                    note.frames_indices = [second * note.fps for second in reading.seconds]
                results.append(result)
        return _joined(results)

    def counted(self, videos: list, processor: Any) -> tuple[list[int], dict[str, Any]]:
        """Frames of each clip of a sample, and what the host's plugin knows of their tokens, from the headers where it
        can."""
        metadata = self._get_video_token_metadata(videos, processor)
        if metadata is None:
            metadata = self._get_mm_inputs([], videos, [], processor)
        return [0] * len(videos), metadata  # the grids are in the metadata

    def _get_video_sample_indices(self, video_stream: Any, **kwargs: Any) -> Any:
        """Returns the host's choice or that of `p4d.frames`, and notes the shown frames in the reading."""
        reading = read_context().reading
        clip = reading.clip or Clip(reading.name)
        info = reading.info = reading.info or _header(video_stream)
        first, final, seconds = span(clip, info)
        if self.settings.frames is not None:
            indices = spread_in_time(info, first, final, self.settings.frames)
        elif reading.is_handed_over or (clip.regions and info.promised is None):
            # The host takes the first frames of a file that does not say how many it has: not those of the regions.
            part = _StreamPart(final - first + 1, seconds)
            indices = [first + int(index) for index in super()._get_video_sample_indices(part, **kwargs)]
        else:
            indices = super()._get_video_sample_indices(video_stream, **kwargs)
        # Of a file that does not say its length the host asks for more frames than there may be.
        reading.indices = [int(index) for index in indices if index < info.frames]
        if clip.regions:
            from rgpt4d_plugin.regions.frame_matching import place

            placed = place(clip, info, reading.indices)
            indices = reading.indices = placed.indices
            reading.marks = placed.marks
        reading.start = info.time_of(reading.indices[0]) if clip.is_part else 0.0
        reading.seconds = [info.time_of(index) - reading.start for index in reading.indices]
        return indices

    @staticmethod
    def _p4d_has_own_times(reading: Reading) -> bool:
        """Whether the host, which counts time in frames of constant rate from the start of a file, would be wrong."""
        return reading.clip is not None and (reading.is_handed_over or reading.info.times is not None)

    def _regularize_videos(self, videos: list, **kwargs: Any) -> dict[str, list]:
        results = []
        context = read_context()
        for video in videos:
            with self._p4d_read(video) as reading:
                results.append(self._p4d_decode(reading, **kwargs))
                if context.times is not None and not context.counting:
                    count = len(results[-1]["videos"][0]) if reading.count is None else reading.count
                    context.times.append(frame_times(reading, count, kwargs["video_fps"]))
        return _joined(results) if results else {}

    @contextmanager
    def _p4d_read(self, video: Any) -> Iterator[Reading]:
        count = len(video) if isinstance(video, (list, tuple)) else None
        try:
            clip = clip_of(video)
            info = read_info(clip.path) if clip is not None else _check_frames(video)
            with reading_with(reading=Reading(video, clip, count, info)) as context:
                yield context.reading
        except MediaError as err:
            raise _located(err, video) from err

    def _preprocess_image(self, image: Image.Image, **kwargs: Any) -> Image.Image:
        # The host repeats a file's last frame to fill the last temporal patch: the same object again is no new frame.
        reading = read_context().reading
        if reading is not None and not (reading.count is None and reading.raw and reading.raw[-1] is image):
            reading.raw.append(image)
        return super()._preprocess_image(image, **kwargs)

    def _p4d_decode(self, reading: Reading, **kwargs: Any) -> dict[str, list]:
        """Returns the host's result for one video, with its marks drawn; hands the clip on if it is recorded."""
        name, path = reading.name, _path(reading)
        try:
            result = self._p4d_host_result(reading, **kwargs)
        except (av.FFmpegError, OSError) as err:
            raise VideoError(f"{name} cannot be decoded: {err}", path) from err
        # Of stored frames none is decoded to be counted.
        frames = reading.raw if reading.count in (None, len(reading.raw)) else reading.raw[: reading.count]
        if not frames:
            raise VideoError(f"{name} has no frames", path)
        # The host fills the last temporal patch: files that differ by less still fit their tokens.
        filled = (lambda count: count + count % 2) if self.pairs_frames else int
        if reading.indices is not None and filled(len(frames)) < filled(len(reading.indices)):
            raise VideoError(
                f"{name} is cut off or damaged: only {len(frames)} of the {len(reading.indices)} sampled frames could "
                "be decoded",
                path,
            )
        on_clip = read_context().on_clip
        if on_clip is not None:
            marked = {at: [f"<obj_{mark.number}>" for mark in marks] for at, marks in reading.marks.items()}
            times = frame_times(reading, len(frames), kwargs["video_fps"])
            on_clip(SeenClip(name, frames, times, marked, reading.start, _files(reading), reading.stored))
        return result

    def _p4d_host_result(self, reading: Reading, **kwargs: Any) -> dict[str, list]:
        if reading.clip is None:
            # A copy, because the host fills the last temporal patch by appending to the list.
            entry = reading.entry if reading.count is None else list(reading.entry)
            return super()._regularize_videos([entry], **kwargs)
        counting = read_context().counting
        if self.settings.video.cache is None or counting:
            result = self._p4d_unmarked(reading, **kwargs)
        else:
            from rgpt4d_plugin.template.stored_frames import stored_result

            result = stored_result(self, reading, kwargs)
        if reading.marks and not counting:
            self._p4d_draw(reading, result["videos"][0])
        return result

    def _p4d_unmarked(self, reading: Reading, **kwargs: Any) -> dict[str, list]:
        """Returns the host's result for one file; the decoded frames are then in the reading."""
        clip, counting, backend = reading.clip, read_context().counting, self.settings.video.backend
        if not counting and not reading.is_handed_over and backend == "pyav":
            result = super()._regularize_videos([clip.path], **kwargs)
        else:
            self._p4d_sample(reading, **kwargs)
            reading.count = len(reading.indices)
            size = (reading.info.width, reading.info.height)
            if counting:
                frames = [Image.new("RGB", size) for _ in reading.indices]
            else:
                frames = read_frames(clip.path, reading.indices, backend)
            result = super()._regularize_videos([frames], **kwargs)
        if reading.count is not None or self._p4d_has_own_times(reading):
            result |= self._p4d_notes(reading, result, kwargs["video_fps"])
        return result

    def _p4d_sample(self, reading: Reading, **kwargs: Any) -> None:
        """Fills the reading with the frames that are shown."""
        if self.settings.frames is not None:  # what is known of the file is enough
            self._get_video_sample_indices(None, **kwargs)
            return
        with open_video(reading.clip.path) as container:
            self._get_video_sample_indices(container.streams.video[0], **kwargs)

    @staticmethod
    def _p4d_notes(reading: Reading, result: dict[str, list], video_fps: float) -> dict[str, list]:
        """Returns what the host notes of a clip's times, as they are."""
        clip, info = reading.clip, reading.info
        duration = span(clip, info)[2]
        notes = {
            "durations": duration,
            "fps_per_video": len(reading.indices) / duration,
            "frames_indices": [second * video_fps for second in reading.seconds],
        }
        return {key: [value] for key, value in notes.items() if key in result}

    @staticmethod
    def _p4d_draw(reading: Reading, frames: list[Image.Image]) -> None:
        """Draws the marks on a clip's frames."""
        from rgpt4d_plugin.regions.drawing.marks import draw_marks

        for position, marks in reading.marks.items():
            frames[position] = draw_marks(frames[position], marks, (reading.info.width, reading.info.height))
        if len(frames) == len(reading.indices) + 1:
            frames[-1] = frames[-2]  # the host's filler of the last temporal patch repeats the frame, marks and all

    def _regularize_images(self, images: list, **kwargs: Any) -> dict[str, list]:
        if not images:
            return super()._regularize_images(images, **kwargs)
        return _joined([self._p4d_image(image, **kwargs) for image in images])

    def _p4d_image(self, image: Any, **kwargs: Any) -> dict[str, list]:
        if not has_prefix(image):
            return super()._regularize_images([image], **kwargs)
        from rgpt4d_plugin.regions.drawing.marks import draw_marks
        from rgpt4d_plugin.regions.media_entries import decode_image_entry
        from rgpt4d_plugin.regions.rendering import marks_on, open_image_entry

        entry, counting = decode_image_entry(image), read_context().counting
        try:
            picture = open_image_entry(entry, size_only=counting)
            marks = marks_on(entry, picture.size)
        except MediaError as err:
            raise _located(err, image) from err
        result = super()._regularize_images([picture], **kwargs)
        if marks and not counting:
            result["images"] = [draw_marks(result["images"][0], marks, picture.size)]
        return result


def clip_of(video: Any) -> Clip | None:
    """Returns the clip that an entry of `videos` stands for; None if it is no path."""
    if not has_prefix(video):
        return plain_clip(video)
    from rgpt4d_plugin.regions.media_entries import decode_clip

    return decode_clip(video)


def _path(reading: Reading) -> str | None:
    """Returns the file that an error is about, for looking up its record."""
    if reading.clip is not None:
        return reading.clip.path
    frames = reading.entry if reading.count is not None else []
    return next((frame for frame in frames if isinstance(frame, str)), None)


def _files(reading: Reading) -> tuple[str, ...]:
    """Returns the files that a clip's frames come from; none if any frame is no file."""
    if reading.clip is not None:
        return (reading.clip.path,)
    frames = reading.entry if isinstance(reading.entry, (list, tuple)) else []
    files = tuple(os.fspath(frame) for frame in frames if isinstance(frame, (str, os.PathLike)))
    return files if len(files) == len(frames) else ()


def _check_frames(video: Any) -> None:
    """Raises VideoError for an entry without a path unless it is a list of frames that are there, or a file object."""
    if isinstance(video, list):
        for frame in video:
            if isinstance(frame, (str, os.PathLike)) and not os.path.isfile(frame):
                raise VideoError(f"no such video frame: {os.fspath(frame)}", os.fspath(frame))
    elif not isinstance(video, tuple) and not hasattr(video, "read"):
        raise VideoError(f"expected the name of a video file or a list of frames, got {video!r}", video)


def _located(error: MediaError, entry: Any) -> MediaError:
    """Returns an error that begins with the record it comes from, where that is known."""
    missing = isinstance(getattr(error, "entry", None), str) and not os.path.isfile(error.entry)
    where = where_used(entry, folder=missing)
    message = f"{where}: {error}" if where else str(error)
    if isinstance(error, VideoError):
        # Without an entry, so that nobody looks the record up a second time.
        return VideoError(message, None if where else error.entry)
    return type(error)(message)


def frame_times(reading: Reading, count: int, video_fps: float) -> list[float]:
    """Returns the seconds of each of `count` frames; those of a list are `video_fps` apart, as the host takes them."""
    if reading.seconds is None:
        return [index / video_fps for index in range(count)]
    return reading.seconds[:count]


def _header(stream: Any) -> VideoInfo:
    """Returns what the header of a stream without a file says, which may be read only once."""
    # The host seeks to the start before it decodes.
    frames = stream.frames or sum(packet.size > 0 for packet in stream.container.demux(stream))
    rate = float(stream.average_rate or stream.guessed_rate or 1)
    return VideoInfo("video", stream.width, stream.height, rate, frames, frames / rate)


@dataclass(frozen=True)
class _StreamPart:
    """A part of a video stream, as far as the host's sampling rule looks at a stream."""

    frames: int
    duration: float
    time_base: int = 1


def _joined(results: list[dict[str, Any]]) -> dict[str, Any]:
    """The host's results of several calls as those of one: lists and tensors in a row, anything else is the same."""
    return {key: _join([result[key] for result in results]) for key in results[0]}


def _join(values: list[Any]) -> Any:
    if isinstance(values[0], list):
        return [item for value in values for item in value]
    return torch.cat(values) if isinstance(values[0], torch.Tensor) else values[0]
