# SPDX-License-Identifier: Apache-2.0
"""The engine for OpenAI-compatible servers, against a server in this process that answers as it is told."""

import base64
import gzip
import io
import json
import logging
import socket
import threading
from collections import defaultdict
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from rgpt4d_plugin import RegionPrompt
from rgpt4d_plugin.eval_hooks.benchmark_task import Question
from rgpt4d_plugin.eval_hooks.benchmarks.records import Medium
from rgpt4d_plugin.eval_hooks.engines import openai_endpoint
from rgpt4d_plugin.eval_hooks.engines.chat_message import MediaOptions, content
from rgpt4d_plugin.eval_hooks.engines.openai_endpoint import EndpointError, OpenAIEndpoint
from tests.benchmark_folders import EPS, bomb
from tests.harness import DATA


pytestmark = pytest.mark.slow


VIDEO = DATA / "clips/4.mp4"  # 224 x 224, 150 frames at 30 per second
KEY = "sk-secret-4711"
NOW = 1_800_000_000
"""What the clock says where a server names a date to wait for."""


def completion(text, finish="stop"):
    message = {"role": "assistant", "content": text}
    return 200, {"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": finish}]}


class Server(ThreadingHTTPServer):
    """Answers the n-th request of a question by `answer(text, n)`: (status, body) or (status, body, headers)."""

    daemon_threads = True
    # The engine connects as often as it may at once; the default backlog of 5 would make connections wait.
    request_queue_size = 64

    def __init__(self, answer):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.lock = threading.Lock()
        self.requests = defaultdict(list)  # text of the question -> (path, headers, body) of its requests
        self.under_way = self.most_at_once = 0
        self.going = threading.Event()
        self.waited_in_vain = 0

    def wait_in_vain(self):
        """Keeps a request until `going` is set, and counts those that nobody gave up in 20 seconds."""
        self.waited_in_vain += not self.going.wait(20)
        return completion("late")

    def handle_error(self, *_):
        """The engine hangs up on replies that come too late for it."""

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][0]["content"][-1]["text"]
        with server.lock:
            server.requests[text].append((self.path, dict(self.headers), body))
            number = len(server.requests[text])
            server.under_way += 1
            server.most_at_once = max(server.most_at_once, server.under_way)
        try:
            status, reply, *headers = server.answer(text, number)
        finally:
            with server.lock:
                server.under_way -= 1
        if status is None:  # hang up without a word
            self.close_connection = True
            return
        reply = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        self.send_response(status)
        for name, value in (headers[0] if headers else {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    """Starts a server; all are closed at the end."""
    servers = []

    def start(answer):
        server = Server(answer)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def questions(*texts, media=()):
    return [Question(f"key/{text}", text, media, frames=4, max_new_tokens=7) for text in texts]


def endpoint(url, **options):
    return OpenAIEndpoint(url, "tiny", **{"first_pause": 0.001, "tries": 3, "timeout": 20.0, **options})


def replies(engine, asked):
    found = dict(engine.ask(asked))
    assert all(reply.key == key for key, reply in found.items())
    return {key.removeprefix("key/"): reply for key, reply in found.items()}


def test_replies_and_what_was_sent(serve, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY + "\n")
    server = serve(lambda text, number: completion(f" {text}!\n\n", "length" if text == "b" else "stop"))
    found = replies(endpoint(server.url + "/", extra_body={"seed": 3}), questions("a", "b", "c"))
    assert {key: (reply.text, reply.truncated, reply.error) for key, reply in found.items()} == {
        "a": (" a!\n\n", False, None),
        "b": (" b!\n\n", True, None),
        "c": (" c!\n\n", False, None),
    }
    ((path, headers, body),) = server.requests["a"]
    assert path == "/v1/chat/completions" and headers["Authorization"] == f"Bearer {KEY}"
    assert body == {
        "model": "tiny",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
        "max_tokens": 7,
        "temperature": 0.0,
        "seed": 3,
    }


def test_without_a_key_none_is_sent_and_the_server_may_keep_its_temperature(serve, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    server = serve(lambda text, number: completion("A"))
    list(endpoint(server.url, temperature=None, token_limit="max_completion_tokens").ask(questions("a")))
    ((_, headers, body),) = server.requests["a"]
    assert "Authorization" not in headers
    assert "temperature" not in body and "max_tokens" not in body and body["max_completion_tokens"] == 7


@pytest.mark.parametrize(
    "first",
    [
        (500, {"error": {"message": "out of memory"}}),
        (503, b"loading"),
        (408, {}),
        (None, b""),
        (200, b""),
        (200, b"<html>busy</html>"),
        (200, {"choices": []}),
        (200, {"choices": [{"message": {"content": [{"type": "text", "text": "A"}]}}]}),
        (200, ["A"]),
    ],
    ids=["500", "503", "408", "hang-up", "nothing", "html", "no-choice", "parts", "list"],
)
def test_what_may_pass_is_tried_again(serve, first):
    server = serve(lambda text, number: first if number == 1 else completion("(B)"))
    assert replies(endpoint(server.url), questions("a"))["a"].text == "(B)"
    assert len(server.requests["a"]) == 2


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((500, {"error": {"message": "out of memory"}}), "500 Internal Server Error: out of memory (3 tries)"),
        ((502, b"<html>bad gateway</html>"), "502 Bad Gateway: <html>bad gateway</html> (3 tries)"),
        ((200, b""), "not a chat completion (JSONDecodeError"),
        ((200, {"choices": []}), """not a chat completion (IndexError: list index out of range): '{"choices": []}'"""),
        ((None, b""), "the connection broke: Server disconnected"),
    ],
    ids=["500", "502", "nothing", "no-choice", "hang-up"],
)
def test_what_does_not_pass_is_a_failure_after_the_last_try(serve, answer, error):
    server = serve(lambda text, number: answer if text == "bad" else completion("A"))
    found = replies(endpoint(server.url), questions("a", "bad", "b"))
    assert [found[key].text for key in "ab"] == ["A", "A"]
    assert found["bad"].text == "" and not found["bad"].truncated
    assert found["bad"].error.startswith(error) and found["bad"].error.endswith("(3 tries)")
    assert len(server.requests["bad"]) == 3


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": f"Incorrect API key: {KEY}."}}, "Incorrect API key: ***."),  # OpenAI, vLLM
        ({"object": "error", "message": "prompt too long"}, "prompt too long"),  # SGLang, older vLLM
        ({"detail": [{"loc": ["body"], "msg": "wrong"}]}, '[{"loc": ["body"], "msg": "wrong"}]'),  # FastAPI
        (b"go away", "go away"),
    ],
)
@pytest.mark.parametrize("status", [400, 401, 404, 422])
def test_a_refusal_is_a_failure_at_once_in_the_servers_words(serve, monkeypatch, status, body, message):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = serve(lambda text, number: (status, body))
    error = replies(endpoint(server.url), questions("a"))["a"].error
    assert error.startswith(f"{status} ") and error.endswith(f": {message}")
    assert len(server.requests["a"]) == 1


def test_a_message_without_content(serve):
    """A refusal is a reply; so is a limit that was reached while thinking."""
    messages = {"no": {"content": None, "refusal": "I cannot."}, "thinking": {"content": None}}
    server = serve(lambda text, number: (200, {"choices": [{"message": messages[text], "finish_reason": "length"}]}))
    found = replies(endpoint(server.url), questions("no", "thinking"))
    assert (found["no"].text, found["no"].error) == ("I cannot.", None)
    assert (found["thinking"].text, found["thinking"].truncated, found["thinking"].error) == ("", True, None)


def test_a_server_that_hangs_is_given_up_in_time(serve):
    server = serve(lambda text, number: server.wait_in_vain())
    found = replies(endpoint(server.url, timeout=0.1, tries=2), questions("a", "b"))
    assert server.waited_in_vain == 0
    server.going.set()
    assert {reply.error for reply in found.values()} == {"no reply within 0.1 s (2 tries)"}
    assert len(server.requests["a"]) <= 2  # a busy machine may give up before the server has seen it


@pytest.fixture
def pauses(monkeypatch):
    """Pauses of the engine, in seconds, none of which is waited for."""
    found = []

    async def sleep(seconds):
        found.append(seconds)

    monkeypatch.setattr(openai_endpoint.anyio, "sleep", sleep)
    return found


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_respected(serve, pauses, monkeypatch, form):
    monkeypatch.setattr(openai_endpoint.time, "time", lambda: NOW)

    def answer(text, number):
        if number > 1:
            return completion("A")
        return 429, {}, {"Retry-After": "40" if form == "seconds" else formatdate(NOW + 40, usegmt=True)}

    server = serve(answer)
    assert replies(endpoint(server.url), questions("a"))["a"].text == "A"
    assert pauses == [40]


def test_a_wait_of_a_day_is_a_failure(serve):
    server = serve(lambda text, number: (429, {"error": {"message": "quota"}}, {"Retry-After": "86400"}))
    assert replies(endpoint(server.url), questions("a"))["a"].error == (
        "429 Too Many Requests: quota (asks to wait for 86400 s)"
    )


def test_pauses_grow_and_vary(serve, pauses):
    server = serve(lambda text, number: (500, {}))
    list(endpoint(server.url, tries=9, first_pause=1.0).ask(questions("a")))
    middles = (1, 2, 4, 8, 16, 32, 60, 60)
    assert all(middle / 2 <= pause <= middle * 3 / 2 for pause, middle in zip(pauses, middles, strict=True))
    assert len({pause / middle for pause, middle in zip(pauses, middles)}) == len(middles)


def test_at_most_so_many_at_once_and_few_encoded_ahead(serve, monkeypatch):
    begun, most_ahead = set(), 0
    all_sending = threading.Barrier(3)
    real = openai_endpoint.content

    def count(question, options):
        begun.add(question.prompt)
        return real(question, options)

    def answer(text, number):
        # Every reply waits for two others: the engine must really have three under way.
        all_sending.wait(10)
        return completion(text)

    monkeypatch.setattr(openai_endpoint, "content", count)
    server = serve(answer)
    asked = questions(*map(str, range(24)))
    answered = 0
    for _ in endpoint(server.url, concurrency=3, encoders=2).ask(asked):
        answered += 1
        most_ahead = max(most_ahead, len(begun) - sum(len(r) for r in server.requests.values()))
    assert answered == 24 and server.most_at_once == 3
    assert most_ahead <= 3 + 2
    # Asked in order: none comes before those that were begun before it, but for the four others that are under way.
    assert all(int(text) - place < 5 for place, text in enumerate(server.requests))


def test_requests_go_on_while_the_caller_is_busy(serve):
    arrived = threading.Semaphore(0)

    def answer(text, number):
        arrived.release()
        return completion(text)

    asking = endpoint(serve(answer).url, concurrency=1, encoders=1).ask(questions(*"abcd"))
    next(asking)
    for _ in range(4):  # nothing is asked of the iterator meanwhile
        assert arrived.acquire(timeout=10)
    assert len(list(asking)) == 3


def test_closing_drops_the_requests_under_way(serve):
    server = serve(lambda text, number: completion("A") if text == "a" else server.wait_in_vain())
    asking = endpoint(server.url, concurrency=2).ask(questions(*"abcdefgh"))
    assert next(asking)[0] == "key/a"
    asking.close()
    assert server.waited_in_vain == 0
    assert len(server.requests) < 8
    server.going.set()


@pytest.mark.parametrize("asked", [1, 100])
def test_a_server_that_is_not_there_ends_the_run_at_once(asked):
    """However few the questions are, and without a second try."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    with pytest.raises(EndpointError, match=rf"{url}: no connection: .*up to and with /v1"):
        list(endpoint(url, concurrency=4, first_pause=1000.0).ask(questions(*map(str, range(asked)))))


@pytest.mark.parametrize("reply", [(200, b"<html>Sign in</html>"), (429, b"{}"), (500, b"{}")])
def test_a_server_that_never_answers_a_question_ends_the_run(serve, reply):
    """Instead of asking thousands of them in vain; what was answered before is kept."""
    server = serve(lambda text, number: completion("A") if text == "a" else reply)
    asking = endpoint(server.url, concurrency=2, tries=2, first_pause=0.0).ask(questions("a", *map(str, range(100))))
    with pytest.raises(EndpointError, match="16 questions in a row failed, the last with: .*Check that"):
        for _, answer in asking:
            assert answer.text == "A" or "2 tries" in answer.error
    assert len(server.requests) < 60


def test_a_server_that_goes_away_ends_the_run(serve):
    def answer(text, number):
        if text == "last":
            server.shutdown()
            server.server_close()
        return *completion("A"), {"Connection": "close"}

    server = serve(answer)
    asked = questions("first", "last", *map(str, range(100)))
    with pytest.raises(EndpointError, match="4 questions in a row failed, the last with: no connection"):
        list(endpoint(server.url, concurrency=4).ask(asked))


@pytest.mark.parametrize("key", ["sk-\nsecret", "sk-\u00b2secret", "sk-\x7fsecret", "sk-\udc80secret"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_told(serve, monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    server = serve(lambda text, number: completion("A"))
    with pytest.raises(EndpointError, match="OPENAI_API_KEY holds characters that no HTTP header") as caught:
        list(endpoint(server.url).ask(questions("a")))
    assert "secret" not in str(caught.value) and not server.requests


@pytest.mark.parametrize(
    "url",
    [
        "http://xn--/v1",
        "http://localhost:99999/v1",
        "http://::1:8000/v1",
        "http://a\x00b/v1",
        "http://[::1/v1",
        "//x/v1",
    ],
)
def test_what_is_no_address_is_said_before_anything_is_asked(url):
    with pytest.raises(ValueError, match="base_url: "):
        endpoint(url)


BOMB = gzip.compress(bytes(10_000_000))
DEEP = b"[" * 100_000


@pytest.mark.parametrize(
    ("body", "headers", "error"),
    [
        (b"no gzip", {"Content-Encoding": "gzip"}, "the reply's gzip encoding is broken"),
        (b"\x1b", {"Content-Encoding": "br"}, "the encoding 'br', which was not asked for"),
        (BOMB, {"Content-Encoding": "gzip"}, "the reply is longer than 1,000,000 bytes"),
        (bytes(1_000_001), {}, "the reply is longer than 1,000,000 bytes"),
        (DEEP, {}, "not a chat completion (ValueError: nested too deeply)"),
    ],
)
def test_replies_that_cannot_be_read_are_failures(serve, monkeypatch, body, headers, error):
    monkeypatch.setattr(openai_endpoint, "_LONGEST_REPLY", 1_000_000)
    server = serve(lambda text, number: (200, body, headers) if text == "bad" else completion("A"))
    found = replies(endpoint(server.url), questions("bad", "good"))
    assert error in found["bad"].error and found["bad"].error.endswith("(3 tries)") and found["good"].text == "A"


def test_a_compressed_reply_is_read(serve):
    body = gzip.compress(json.dumps(completion("A")[1]).encode())
    server = serve(lambda text, number: (200, body, {"Content-Encoding": "gzip"}))
    assert replies(endpoint(server.url), questions("a"))["a"].text == "A"
    ((_, headers, _),) = server.requests["a"]
    assert headers["Accept-Encoding"] == "identity"


def test_an_error_nested_without_end_is_an_error(serve):
    server = serve(lambda text, number: (400, DEEP))
    assert replies(endpoint(server.url), questions("a"))["a"].error.startswith("400 Bad Request: [[[[")


@pytest.mark.parametrize("pause", ["\u00b2", "-1", "Fri, 99 Nov 9999999 99:99:99 GMT", "1e9", ""])
def test_an_odd_wish_to_wait_is_passed_over(pause):
    assert openai_endpoint._asked_pause(pause) == 0.0


def test_a_wrong_key_ends_the_run_and_is_not_told(serve, monkeypatch, caplog):
    monkeypatch.setenv("MY_KEY", KEY)
    server = serve(lambda text, number: (401, {"error": {"message": f"unknown key {KEY}"}}))
    engine = endpoint(server.url, concurrency=2, api_key_variable="MY_KEY")
    with caplog.at_level(logging.DEBUG), pytest.raises(EndpointError) as caught:
        list(engine.ask(questions(*"abcdefgh")))
    assert "401 Unauthorized: unknown key ***" in str(caught.value) and "MY_KEY" in str(caught.value)
    assert KEY not in str(caught.value) + repr(engine) + json.dumps(engine.description) + caplog.text


def test_refusals_of_single_questions_do_not_end_the_run(serve):
    server = serve(lambda text, number: completion("A") if text == "last" else (400, {"detail": "too long"}))
    found = replies(endpoint(server.url, concurrency=2), questions(*"abcdef", "last"))
    assert len(found) == 7 and found["last"].text == "A"


def test_description():
    engine = endpoint("http://user:word@host:8000/v1", extra_body={"seed": 3}, media=MediaOptions(picture="png"))
    assert engine.description == {
        "engine": "openai",
        "base_url": "http://host:8000/v1",
        "model": "tiny",
        "media": "frames",
        "picture": "png",
        "video_max_pixels": 65536,
        "image_max_pixels": 589824,
        "temperature": 0.0,
        "extra_body": {"seed": 3},
    }
    assert json.loads(json.dumps(engine.description)) == engine.description


def test_wrong_settings_are_told_together():
    media = MediaOptions(media="gif", picture="webp", jpeg_quality=0, image_max_pixels=0)
    with pytest.raises(ValueError) as caught:
        OpenAIEndpoint("localhost:8000", "", media=media, concurrency=0, timeout=float("nan"), extra_body={"model": 1})
    message = str(caught.value)
    for part in (
        "base_url: ",
        "model: missing",
        "media: expected one of 'frames', 'video', got 'gif'",
        "picture: expected one of 'jpeg', 'png'",
        "jpeg_quality: ",
        "image_max_pixels: ",
        "concurrency: ",
        "timeout: ",
        "extra_body: model is set",
    ):
        assert part in message
    with pytest.raises(ValueError, match="no query"):
        OpenAIEndpoint("http://host/v1?version=1", "m")


# Media


def picture_of(part):
    kind, _, data = part["image_url"]["url"].partition(";base64,")
    return kind, np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


@pytest.mark.parametrize(("start", "end"), [(None, None), (0.5, 3.0)])
def test_a_video_is_the_frames_that_the_host_would_sample(start, end):
    (question,) = questions("What?", media=(Medium("video", VIDEO, start=start, end=end),))
    *frames, text = content(question, MediaOptions(picture="png", video_max_pixels=112 * 112))
    assert text == {"type": "text", "text": "What?"}
    expected = RegionPrompt(str(VIDEO), "What?", frames=4, max_pixels=112 * 112, start=start, end=end).clip.frames
    assert len(frames) == 4
    for part, frame in zip(frames, expected, strict=True):
        kind, pixels = picture_of(part)
        assert kind == "data:image/png" and np.array_equal(pixels, np.asarray(frame))


def test_images_come_first_as_in_the_question_and_jpeg_is_close(tmp_path):
    gradient = np.stack(np.meshgrid(np.arange(0, 240, 2), np.arange(0, 240, 3)), -1).astype(np.uint8)  # 80 x 120
    picture = np.dstack([gradient, gradient[..., :1]])
    Image.fromarray(picture).save(tmp_path / "marks.png")
    buffer = io.BytesIO()
    Image.fromarray(picture).convert("RGBA").save(buffer, "PNG")
    media = (
        Medium("image", tmp_path / "marks.png"),
        Medium("image", data=buffer.getvalue()),
        Medium("video", VIDEO),
    )
    parts = content(questions("What?", media=media)[0], MediaOptions(image_max_pixels=80 * 120))
    assert [part["type"] for part in parts] == ["image_url"] * 6 + ["text"]
    for part in parts[:2]:
        kind, pixels = picture_of(part)
        assert kind == "data:image/jpeg" and pixels.shape == picture.shape
        # Quality 95 without subsampling: within a few of 255 steps.
        assert np.abs(pixels.astype(int) - picture).max() < 12
    small = content(questions("What?", media=media)[0], MediaOptions(image_max_pixels=20 * 30))
    assert picture_of(small[0])[1].shape == (20, 30, 3)


def test_a_video_as_a_file():
    (question,) = questions("What?", media=(Medium("video", VIDEO),))
    part, _ = content(question, MediaOptions(media="video"))
    kind, _, data = part["video_url"]["url"].partition(";base64,")
    assert part["type"] == "video_url" and kind == "data:video/mp4"
    assert base64.b64decode(data) == VIDEO.read_bytes()


def test_media_that_cannot_be_read_are_failures_that_say_why(serve, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "broken.png").write_bytes(b"no image")
    server = serve(lambda text, number: completion("A"))
    asked = [
        *questions("video", media=(Medium("video", tmp_path / "broken.mp4"),)),
        *questions("image", media=(Medium("image", tmp_path / "broken.png"),)),
        *questions("gone", media=(Medium("image", tmp_path / "gone.png"),)),
        *questions("bomb", media=(Medium("image", data=bomb()),)),
        *questions("program", media=(Medium("image", data=EPS),)),
        *questions("fine", media=(Medium("video", VIDEO),)),
    ]
    found = replies(endpoint(server.url), asked)
    assert found["fine"].text == "A" and list(server.requests) == ["fine"]
    for name, file in {"video": "broken.mp4", "image": "broken.png", "gone": "gone.png"}.items():
        assert file in found[name].error
    assert "exceeds limit" in found["bomb"].error and "cannot identify" in found["program"].error
    part = questions("part", media=(Medium("video", VIDEO, start=1.0),))
    assert "use media: frames" in replies(endpoint(server.url, media=MediaOptions(media="video")), part)["part"].error
