# SPDX-License-Identifier: Apache-2.0
"""The engine for servers, against the host's own: over HTTP it answers what the host's ChatModel answers."""

import threading
import time

import pytest
import uvicorn
from llamafactory.api.app import create_app
from llamafactory.chat import ChatModel
from PIL import Image

from rgpt4d_plugin.eval_hooks.benchmark_task import Question
from rgpt4d_plugin.eval_hooks.benchmarks.records import Medium
from rgpt4d_plugin.eval_hooks.engines.chat_message import MediaOptions, frames_of
from rgpt4d_plugin.eval_hooks.engines.openai_endpoint import OpenAIEndpoint
from tests.harness import DATA


VIDEO = DATA / "clips/4.mp4"


@pytest.fixture(scope="module")
def chat_model(assets):
    return ChatModel(
        {
            "model_name_or_path": str(assets.student),
            "template": "qwen2_vl",
            "infer_backend": "huggingface",
            "do_sample": False,
        }
    )


@pytest.fixture(scope="module")
def url(chat_model):
    server = uvicorn.Server(uvicorn.Config(create_app(chat_model), host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    (port,) = (socket.getsockname()[1] for listening in server.servers for socket in listening.sockets)
    yield f"http://127.0.0.1:{port}/v1"
    server.should_exit = True
    thread.join()


@pytest.mark.slow
def test_the_hosts_server_answers_as_the_model_does(chat_model, url, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    Image.new("RGB", (120, 80), (200, 40, 90)).save(tmp_path / "marks.png")
    media = {
        "both": (Medium("image", tmp_path / "marks.png"), Medium("video", VIDEO)),
        "image": (Medium("image", tmp_path / "marks.png"),),
        "text": (),
    }
    questions = [Question(key, f"What is {key}?", media[key], frames=3, max_new_tokens=6) for key in media]
    # Lossless, so that the server sees the very pixels.
    engine = OpenAIEndpoint(url, "tiny", MediaOptions(picture="png"), concurrency=2)
    replies = dict(engine.ask(questions))
    assert replies.keys() == media.keys()
    for question in questions:
        pictures = [
            picture
            for medium in question.media
            for picture in ([Image.open(medium.path)] if medium.kind == "image" else frames_of(medium, 3))
        ]
        messages = [{"role": "user", "content": "<image>" * len(pictures) + question.prompt}]
        (expected,) = chat_model.chat(messages, images=pictures or None, max_new_tokens=6)
        reply = replies[question.key]
        assert (reply.text, reply.error) == (expected.response_text, None)
        assert reply.truncated == (expected.finish_reason == "length")
