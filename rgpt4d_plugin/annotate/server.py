# SPDX-License-Identifier: Apache-2.0
"""The server of the page: its files, frames of the videos, and the workbook; on loopback unless told otherwise.

Requests from other web sites are refused: a foreign Host header by the middleware, foreign POSTs because they cannot
send JSON without asking first.
"""

import functools
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from rgpt4d_plugin.annotate.workbook import Drawn, Event, Workbook
from rgpt4d_plugin.convert.scenes import step_of
from rgpt4d_plugin.curation.output import safe
from rgpt4d_plugin.eval_hooks.replies import NO_COMPLETION, of_completion
from rgpt4d_plugin.files import parse_json
from rgpt4d_plugin.regions.masks import decode_rle, encode_rle, run_lengths
from rgpt4d_plugin.regions.prompt import RegionPrompt, data_url
from rgpt4d_plugin.video.frames import read_frames


_CHUNK = 24  # frames that are decoded at once, while one plays on
_LONGEST = 128  # frames that a tracker is given
_SHOWN = 16  # frames of a preview and of a question


class Page:
    """What the page can ask for; `server` and `model` name an OpenAI-compatible server, `tracker` a SAM 2 or 3."""

    def __init__(
        self, workbook: Workbook, server: str | None = None, model: str | None = None, tracker: Any = None
    ) -> None:
        self.workbook, self.server, self.model, self.tracker = workbook, server, model, tracker
        self._chunk = functools.lru_cache(maxsize=8)(self._decode)

    def overview(self, values: dict[str, Any]) -> Any:
        """All records and their state; what this server can do."""
        can = {"ask": self.server is not None, "follow": self.tracker is not None}
        return self.workbook.overview() | {"file": self.workbook.path.name, "can": can}

    def record(self, values: dict[str, Any]) -> Any:
        """A record as an annotator sees it."""
        number = values["record"]
        info, (first, final) = self.workbook.info(number), self.workbook.frames(number)
        times = [round(info.time_of(frame), 3) for frame in range(first, final + 1)]
        about = {"width": info.width, "height": info.height, "first": first, "times": times, "rate": info.rate}
        opinions = self.workbook.opinions().get(number, {}) if self._may_see_others(values) else {}
        others = {by: event.model_dump(include={"verdict", "reason"}) for by, event in opinions.items()}
        return about | _to_page(self.workbook.current(number, values["by"])) | {"others": others}

    def save(self, values: dict[str, Any]) -> Any:
        """Keeps what was drawn or decided."""
        return _to_page(self.workbook.save(values))

    def preview(self, values: dict[str, Any]) -> Any:
        """What a model gets in a style: text and pictures."""
        prompt = self._prompt(values)
        pictures = [*prompt.images, *(prompt.clip.frames if prompt.clip else [])]
        return {
            "text": prompt.styled.messages[0]["content"],
            "pictures": [data_url(each.convert("RGB")) for each in pictures],
        }

    def ask(self, values: dict[str, Any]) -> Any:
        """The reply of the server's model to the question about the regions."""
        if self.server is None:
            raise ValueError("no server to ask: start with --server URL --model NAME")
        key = os.environ.get("OPENAI_API_KEY", "").strip()
        messages = self._prompt(values).openai_messages()
        try:
            answer = httpx.post(
                f"{self.server.rstrip('/')}/chat/completions",
                json={"model": self.model, "messages": messages, "max_tokens": 256, "temperature": 0},
                headers={"Authorization": f"Bearer {key}"} if key else {},
                timeout=120,
            )
            answer.raise_for_status()
            return {"reply": of_completion("", answer.json()).text}
        except (httpx.HTTPError, *NO_COMPLETION) as err:
            raise ValueError(f"{self.server}: {type(err).__name__}: {err}") from err

    def follow(self, values: dict[str, Any]) -> Any:
        """Masks of a box of one frame on the frames around it, from the tracker."""
        if self.tracker is None:
            raise ValueError("no model to follow with: start with --tracker FOLDER")
        number, frame = values["record"], values["frame"]
        first, final = self.workbook.frames(number)
        step = max(step_of(self.workbook.info(number)), (final - first) // _LONGEST + 1)
        frames = sorted({*range(first, final + 1, step), frame})
        pictures = read_frames(self.workbook.clip(number).path, frames)
        (masks,) = self.tracker(pictures, frames.index(frame), [values["box"]])
        entries = [{"frame": at, "mask": encode_rle(mask)} for at, mask in zip(frames, masks) if mask.any()]
        return {"entries": [_entry_to_page(entry) for entry in entries]}

    def export(self, values: dict[str, Any]) -> Any:
        """Writes the accepted records beside the file, as NAME_verified."""
        folder, name = self.workbook.path.parent, safe(f"{self.workbook.path.name.split('.')[0]}_verified")
        return {"records": self.workbook.export(folder, name), "name": name, "folder": str(folder)}

    def frame(self, number: int, frame: int) -> bytes:
        """A frame as JPEG."""
        first, final = self.workbook.frames(number)
        if not first <= frame <= final:
            raise ValueError(f"frame {frame}: the clip has {first} to {final}")
        return self._chunk(number, frame // _CHUNK)[frame]

    def _decode(self, number: int, chunk: int) -> dict[int, bytes]:
        first, final = self.workbook.frames(number)
        frames = range(max(first, chunk * _CHUNK), min(final + 1, (chunk + 1) * _CHUNK))
        pictures = read_frames(self.workbook.clip(number).path, frames)
        return {at: _jpeg(picture) for at, picture in zip(frames, pictures, strict=True)}

    def _prompt(self, values: dict[str, Any]) -> RegionPrompt:
        number, clip = values["record"], self.workbook.clip(values["record"])
        drawn = [Drawn(**each) for each in values["regions"]]
        event = Event(record=number, by="-", version=0, regions=drawn)
        regions, question = self.workbook.regions_of(event), values["question"] or "What is <obj_1>?"
        return RegionPrompt(
            clip.path,
            question,
            regions,
            style=values.get("style", "som"),
            start=clip.start,
            end=clip.end,
            frames=_SHOWN,
            missing_frame="insert",
        )

    def _may_see_others(self, values: dict[str, Any]) -> bool:
        """Annotators see each other's verdicts once they have given their own, or to settle a disagreement."""
        return bool(values.get("settle")) or values["by"] in self.workbook.opinions().get(values["record"], {})


def application(page: Page, host: str = "127.0.0.1") -> Starlette:
    """The application that serves a page under the names of this machine's loopback, and of `host`."""

    def answering(method: Callable[[dict[str, Any]], Any]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            if request.headers.get("content-type", "").partition(";")[0] != "application/json":
                return JSONResponse({"error": "expected JSON"}, 415)
            try:
                values = parse_json(await request.body())
                return JSONResponse(await run_in_threadpool(method, values))
            except (ValueError, LookupError, TypeError, OSError) as err:
                return JSONResponse({"error": str(err) or type(err).__name__}, 400)

        return endpoint

    def frame(request: Request) -> Response:
        number, at = (request.path_params[name] for name in ("record", "frame"))
        try:
            return Response(page.frame(number, at), media_type="image/jpeg", headers={"Cache-Control": "max-age=3600"})
        except (ValueError, LookupError, OSError) as err:
            return JSONResponse({"error": str(err)}, 404)

    methods = (page.overview, page.record, page.save, page.preview, page.ask, page.follow, page.export)
    hosts = ["127.0.0.1", "localhost", "[::1]", host] if host not in ("0.0.0.0", "::") else ["*"]
    return Starlette(
        routes=[
            *(Route(f"/api/{method.__name__}", answering(method), methods=["POST"]) for method in methods),
            Route("/frame/{record:int}/{frame:int}", frame),
            Mount("/", StaticFiles(directory=Path(__file__).parent / "page", html=True)),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts)],
    )


def serve(page: Page, host: str, port: int) -> None:
    """Serves until it is interrupted."""
    uvicorn.run(application(page, host), host=host, port=port, log_level="warning")


def _to_page(event: Event) -> dict[str, Any]:
    values = event.model_dump(exclude={"at"})
    for region in values["regions"]:
        region["entries"] = [_entry_to_page(entry) for entry in region["entries"]]
    return values


def _entry_to_page(entry: dict[str, Any]) -> dict[str, Any]:
    """Masks with plain run lengths, which the page can draw and send back."""
    if "mask" not in entry:
        return entry
    bitmap = decode_rle(entry["mask"])
    return entry | {"mask": {"size": list(bitmap.shape), "counts": run_lengths(bitmap).tolist()}}


def _jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=92)
    return buffer.getvalue()
