# SPDX-License-Identifier: Apache-2.0
"""Video files that readers stumble over, each with a clock in its pictures that says which frame is which."""

import io
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image


WIDTH, HEIGHT, BLOCK = 192, 128, 32
BITS = 10

# One corner is white and its neighbor black, so that a turned picture is found out.
_CELLS = [(row, column) for row in range(1, 4) for column in range(6)][:BITS]


@dataclass(frozen=True)
class AwkwardFile:
    """A file and what a player shows of it.

    Attributes:
        path: The file.
        numbers: What the clock says in each shown frame.
        times: Seconds at which each is shown, from the first one on.
    """

    path: Path
    numbers: list[int]
    times: list[float]


def clock(number: int) -> np.ndarray:
    """A picture that says a number: (HEIGHT, WIDTH, 3) uint8."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[:BLOCK, :BLOCK] = 255
    for bit, (row, column) in enumerate(_CELLS):
        if number >> bit & 1:
            picture[row * BLOCK : (row + 1) * BLOCK, column * BLOCK : (column + 1) * BLOCK] = 255
    return picture


def read_clock(picture: Image.Image) -> int:
    """The number of a picture of any size that is upright and unmarked where its clock is; -1 if it is turned."""
    gray = np.asarray(picture.convert("L"), dtype=float)
    height, width = gray.shape[0] / 4, gray.shape[1] / 6

    def white(row: int, column: int) -> bool:
        ys = slice(round((row + 0.3) * height), round((row + 0.7) * height))
        xs = slice(round((column + 0.3) * width), round((column + 0.7) * width))
        return gray[ys, xs].mean() > 128

    if gray.shape[0] > gray.shape[1] or not white(0, 0) or white(0, 1) or white(0, 5):
        return -1
    return sum(1 << bit for bit, (row, column) in enumerate(_CELLS) if white(row, column))


def write(
    path: Path | io.RawIOBase,
    times: Sequence[float],
    codec: str = "libx264",
    *,
    rate: int = 10,
    base: int | None = None,
    gop: int = 10,
    form: str | None = None,
    pix_fmt: str = "yuv420p",
    container: dict[str, str] | None = None,
    coder: dict[str, str] | None = None,
    sound: tuple[str, float] | None = None,
    draw: Callable[[int], np.ndarray] = clock,
) -> None:
    """Encodes a clock of `len(times)` frames, shown at these seconds.

    Args:
        path: A file or a stream.
        times: Seconds of each frame.
        codec: The video's.
        rate: Frames per second that the encoder is told.
        base: Ticks per second; None: one a frame.
        gop: Frames from one key frame to the next.
        form: Name of the container's format; None: by the file's name.
        pix_fmt: The video's.
        container: Options of the container.
        coder: Options of the encoder.
        sound: Codec and seconds of an audio stream; None: there is none.
        draw: The picture of each number.
    """
    first = draw(0)
    with av.open(
        path if isinstance(path, io.RawIOBase) else str(path), "w", format=form, options=container or {}
    ) as o:
        video = o.add_stream(codec, rate=rate, options=coder or {})
        video.height, video.width = first.shape[:2]
        video.pix_fmt, video.codec_context.gop_size = pix_fmt, gop
        video.codec_context.time_base = Fraction(1, base or rate)
        audio = o.add_stream(sound[0], rate=48000, bit_rate=64000) if sound else None
        packets = []
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(draw(number), format="rgb24")
            frame.time_base, frame.pts = Fraction(1, base or rate), round(time * (base or rate))
            packets += video.encode(frame)
        packets += video.encode()
        if sound:
            size = audio.codec_context.frame_size or 1024
            for start in range(0, round(sound[1] * 48000), size):
                format_name = audio.codec_context.format.name
                silence = np.zeros((1, size), np.float32 if format_name.startswith("flt") else np.int16)
                frame = av.AudioFrame.from_ndarray(silence, format=format_name, layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
                packets += audio.encode(frame)
            packets += audio.encode()
        packets.sort(key=lambda packet: float((packet.dts or 0) * packet.time_base))
        o.mux(packets)


def even(count: int, rate: int = 10) -> list[float]:
    """Times of a constant rate."""
    return [number / rate for number in range(count)]


def remux(source: Path, target: Path, shift: float = 0.0, **options: str) -> None:
    """Copies the packets of a file, each shown `shift` seconds later."""
    with av.open(str(source)) as given, av.open(str(target), "w", options=options) as made:
        stream = given.streams.video[0]
        copy = made.add_stream_from_template(stream)
        ticks = round(shift / stream.time_base)
        for packet in given.demux(stream):
            if packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts + ticks, packet.dts + ticks, copy
                made.mux(packet)


def turn(path: Path, degrees: int) -> None:
    """Writes a display matrix into an MP4 file: players turn its pictures clockwise."""
    content = bytearray(path.read_bytes())
    matrix = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    a, b, c, d = (value * 65536 for value in matrix)
    at = content.index(b"tkhd") + 4 + 40
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(content))


class _Pipe(io.RawIOBase):
    """What can be written to once, from front to back."""

    def __init__(self) -> None:
        self.content = io.BytesIO()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:
        return self.content.write(data)


def plain(folder: Path) -> AwkwardFile:
    write(folder / "plain.mp4", even(40))
    return AwkwardFile(folder / "plain.mp4", list(range(40)), even(40))


def sound_is_longer(folder: Path) -> AwkwardFile:
    path = folder / "sound.webm"
    write(path, even(30), "libvpx-vp9", base=1000, sound=("libopus", 3.4), coder={"deadline": "realtime"})
    return AwkwardFile(path, list(range(30)), even(30))


def sound_is_far_longer(folder: Path) -> AwkwardFile:
    path = folder / "sound.wmv"
    write(path, even(30), "wmv2", base=1000, sound=("wmav2", 9.0))
    return AwkwardFile(path, list(range(30)), even(30))


def edit_list(folder: Path) -> AwkwardFile:
    """As `ffmpeg -ss 0.7 -i source.mp4 -c copy` cuts: the frames before are in the file and hidden."""
    write(folder / "source.mp4", even(40), gop=20)
    path = folder / "cut.mp4"
    remux(folder / "source.mp4", path, -0.7, avoid_negative_ts="disabled", use_editlist="1")
    return AwkwardFile(path, list(range(7, 40)), even(33))


def one_long_gop(folder: Path) -> AwkwardFile:
    write(folder / "long.ts", even(40), gop=250)
    return AwkwardFile(folder / "long.ts", list(range(40)), even(40))


def transport_stream(folder: Path) -> AwkwardFile:
    write(folder / "stream.ts", even(60, 25), rate=25, gop=13)
    return AwkwardFile(folder / "stream.ts", list(range(60)), even(60, 25))


def variable_rate(folder: Path) -> AwkwardFile:
    times = [*even(21, 20), 2.0, 3.0, 4.0]
    write(folder / "variable.mp4", times, rate=20, base=1000, coder={"bf": "0"})
    return AwkwardFile(folder / "variable.mp4", list(range(24)), times)


def variable_rate_in_matroska(folder: Path) -> AwkwardFile:
    times = [0.0, 0.4, 0.5, 0.6, 1.7, 1.8, 3.0, 3.1, 3.2, 3.3, 3.4, 4.5]
    write(folder / "variable.mkv", times, base=1000)
    return AwkwardFile(folder / "variable.mkv", list(range(12)), times)


def no_duration(folder: Path) -> AwkwardFile:
    pipe = _Pipe()
    write(
        pipe, even(30), "libvpx-vp9", base=1000, form="webm", container={"live": "1"}, coder={"deadline": "realtime"}
    )
    (folder / "live.webm").write_bytes(pipe.content.getvalue())
    return AwkwardFile(folder / "live.webm", list(range(30)), even(30))


def animated_gif(folder: Path) -> AwkwardFile:
    pictures = [Image.fromarray(clock(number)) for number in range(20)]
    pictures[0].save(folder / "animated.gif", save_all=True, append_images=pictures[1:], duration=100)
    return AwkwardFile(folder / "animated.gif", list(range(20)), even(20))


def turned(degrees: int) -> Callable[[Path], AwkwardFile]:
    def make(folder: Path) -> AwkwardFile:
        path = folder / f"turned{degrees}.mp4"
        write(path, even(30), draw=lambda number: np.ascontiguousarray(np.rot90(clock(number), degrees // 90)))
        turn(path, degrees)
        return AwkwardFile(path, list(range(30)), even(30))

    return make


def sparse_avi(folder: Path) -> AwkwardFile:
    times = [*even(20, 20), 3.0, 5.0, 9.0]
    write(folder / "sparse.avi", times, "mpeg4", rate=20)
    return AwkwardFile(folder / "sparse.avi", list(range(23)), times)


def avi_with_b_frames(folder: Path) -> AwkwardFile:
    write(folder / "bframes.avi", even(30), "mpeg4", coder={"bf": "2"})
    return AwkwardFile(folder / "bframes.avi", list(range(30)), even(30))


def matroska(folder: Path) -> AwkwardFile:
    write(folder / "clip.mkv", even(40, 30), rate=30, base=1000)
    return AwkwardFile(folder / "clip.mkv", list(range(40)), even(40, 30))


def fragmented(folder: Path) -> AwkwardFile:
    write(folder / "fragments.mp4", even(40), container={"movflags": "frag_keyframe+empty_moov"})
    return AwkwardFile(folder / "fragments.mp4", list(range(40)), even(40))


def late_start(folder: Path) -> AwkwardFile:
    write(folder / "early.mp4", even(40))
    remux(folder / "early.mp4", folder / "late.mkv", 1.5)
    return AwkwardFile(folder / "late.mkv", list(range(40)), even(40))


def flash(folder: Path) -> AwkwardFile:
    write(folder / "clip.flv", even(30), base=1000)
    return AwkwardFile(folder / "clip.flv", list(range(30)), even(30))


def hidden_references(folder: Path) -> AwkwardFile:
    """VP8 has packets that no frame comes of."""
    write(folder / "vp8.webm", even(40), "libvpx", base=1000, coder={"auto-alt-ref": "1", "lag-in-frames": "16"})
    return AwkwardFile(folder / "vp8.webm", list(range(40)), even(40))


KINDS: dict[str, Callable[[Path], AwkwardFile]] = {
    "plain": plain,
    "sound is longer": sound_is_longer,
    "sound is far longer": sound_is_far_longer,
    "edit list": edit_list,
    "transport stream of one gop": one_long_gop,
    "transport stream": transport_stream,
    "variable rate": variable_rate,
    "variable rate in matroska": variable_rate_in_matroska,
    "no duration": no_duration,
    "gif": animated_gif,
    "turned by 90": turned(90),
    "turned by 180": turned(180),
    "turned by 270": turned(270),
    "sparse avi": sparse_avi,
    "avi with b-frames": avi_with_b_frames,
    "matroska": matroska,
    "fragmented": fragmented,
    "late start": late_start,
    "flash": flash,
    "hidden references": hidden_references,
}
