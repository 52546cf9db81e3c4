# SPDX-License-Identifier: Apache-2.0
"""A scripted stand-in for a VLM behind an OpenAI-compatible server, which knows the truth of synthetic clips."""

import base64
import io
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

from rgpt4d_plugin.regions.bounds import box_around, overlap
from rgpt4d_plugin.synth4d.clips import decode_mp4


COLOURS = "red|green|blue|yellow|purple|orange|cyan|white"


class Oracle:
    """Answers every prompt of a curation rightly; `gone_after` requests it answers no more."""

    def __init__(self, folder, gone_after=None):
        self.requests, self.gone_after, self.lock = 0, gone_after, threading.Lock()
        self.prompts = []
        self._frames, self._truth = {}, {}
        for path in sorted((folder / "videos").glob("*.mp4")):
            with np.load(folder / f"ground_truth/{path.stem}.npz") as maps:
                colours = [ball["colour"] for ball in json.loads(str(maps["bodies"]))]
                instance = maps["instance"]
            for number, frame in enumerate(decode_mp4(path)):
                self._frames[frame.tobytes()] = (path.stem, number)
                self._truth[path.stem, number] = {
                    f"the {colour} ball": box_around(instance[number] == index)
                    for index, colour in enumerate(colours)
                    if (instance[number] == index).sum() >= 4
                }
        self.size = instance.shape[2], instance.shape[1]

    def boxes(self, clip, frame):
        """Box of every ball that is seen, by its phrase."""
        return self._truth[clip, frame]

    def answer(self, prompt, picture):
        """The reply to a prompt."""
        if prompt.startswith("A question about a video"):
            question = re.search(r"Question: (.*)", prompt)[1]
            return json.dumps([f"the {colour} ball" for colour in re.findall(rf"the ({COLOURS}) ball", question)])
        if prompt.startswith("Locate"):
            truth = self._truth[self._frames[np.asarray(picture).tobytes()]]
            wanted = re.findall(r'"(the \w+ ball)"', prompt.partition("\n")[0])
            found = [{"label": name, "box": self.thousandths(truth[name])} for name in wanted if name in truth]
            return f"```json\n{json.dumps(found)}\n```"
        if prompt.startswith("The image is a frame"):
            question = re.search(r"Question about the video: (.*)", prompt)[1]
            regions = {
                name: int(number) for number, name in re.findall(r'^(\d+): found for "(the \w+ ball)"', prompt, re.M)
            }
            for name, number in regions.items():
                question = question.replace(name, f"<obj_{number}>")
            return "Here it is: " + json.dumps({"regions": regions, "question": question})
        return "No"

    def thousandths(self, box):
        """As a VLM writes coordinates, a little finer."""
        return [round(1000 * side / self.size[at % 2], 1) for at, side in enumerate(box)]


@contextmanager
def serving(oracle):
    """The address of a server that answers as the oracle."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            *media, text = body["messages"][0]["content"]
            with oracle.lock:
                oracle.requests += 1
                oracle.prompts.append(text["text"])
                gone = oracle.gone_after is not None and oracle.requests > oracle.gone_after
            picture = None
            if media:
                data = media[0]["image_url"]["url"].partition("base64,")[2]
                picture = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
            reply = "" if gone else oracle.answer(text["text"], picture)
            content = json.dumps({"choices": [{"message": {"content": reply}, "finish_reason": "stop"}]}).encode()
            self.send_response(401 if gone else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def overlaps(records, oracle):
    """Intersection over union of every box of the records with the truth, by frame."""
    found = []
    for record in records:
        clip = record["videos"][0].rpartition("/")[2].removesuffix(".mp4")
        for region in json.loads(record["regions"]):
            for entry in region.get("track", [region]):
                truth = oracle.boxes(clip, entry["frame"]).get(region["name"])
                found.append(overlap(entry["box"], truth) if truth else 0.0)
    return found
