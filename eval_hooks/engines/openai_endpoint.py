# SPDX-License-Identifier: Apache-2.0
"""Asks a server that speaks the OpenAI chat protocol: vLLM, SGLang, LLaMA-Factory's own, or OpenAI's."""

import json
import logging
import os
import queue
import random
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import anyio
import httpx
from anyio.from_thread import start_blocking_portal

from rgpt4d_plugin.eval_hooks.benchmark_task import Question
from rgpt4d_plugin.eval_hooks.engines.chat_message import MEDIA_ERRORS, MediaOptions, content
from rgpt4d_plugin.eval_hooks.replies import NO_COMPLETION, Reply, of_completion
from rgpt4d_plugin.files import parse_json


logger = logging.getLogger(__name__)

_LONGEST_PAUSE = 60.0  # seconds, of this side's own choosing
_LONGEST_ASKED_PAUSE = 600.0  # seconds, of the server's
_CONNECT = 10.0  # seconds
_HOPELESS = 16  # questions in a row that failed in all their tries: a server that is broken, not a hard question
_LONGEST_REPLY = 16 << 20  # bytes


class EndpointError(RuntimeError):
    """The server cannot be used: no question would be answered."""


@dataclass(frozen=True)
class OpenAIEndpoint:
    """An engine that asks over HTTP; media are encoded here.

    Example:
        >>> engine = OpenAIEndpoint("http://localhost:8000/v1", "Qwen/Qwen2.5-VL-7B-Instruct")
        >>> for key, reply in engine.ask(questions):
        ...     print(key, reply.text)

    Attributes:
        base_url: Up to and with `/v1`.
        model: Name under which the server knows it.
        media: How videos and images are sent.
        concurrency: Requests under way at once.
        timeout: Seconds for one try, from connecting to the last byte.
        tries: Tries of a question, before its reply is a failure.
        first_pause: Seconds before the second try; doubled for every further one, and varied by half.
        encoders: Threads that decode videos and encode pictures.
        temperature: 0 is greedy; None leaves it to the server.
        token_limit: Name of the field; OpenAI's newer models want `max_completion_tokens`.
        extra_body: Further fields of every request, e.g. {"chat_template_kwargs": {"enable_thinking": False}}.
        api_key_variable: Environment variable that holds the key. It may be unset for servers that want none.

    Raises:
        ValueError: On construction, with all that is wrong with the values.
    """

    base_url: str
    model: str
    media: MediaOptions = MediaOptions()
    concurrency: int = 16
    timeout: float = 300.0
    tries: int = 6
    first_pause: float = 1.0
    encoders: int = 4
    temperature: float | None = 0.0
    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    api_key_variable: str = "OPENAI_API_KEY"

    def __post_init__(self) -> None:
        problems = self.media.problems()
        try:
            url = httpx.URL(self.base_url)
            if url.scheme not in ("http", "https") or not url.host or not 0 < (url.port or 80) < 1 << 16:
                problems.append(f"base_url: expected something like http://localhost:8000/v1, got {self.base_url!r}")
            elif url.query or url.fragment:
                problems.append(f"base_url: expected no query, got {self.base_url!r}")
        except (httpx.InvalidURL, ValueError) as err:
            problems.append(f"base_url: {self.base_url!r} is no URL ({err})")
        if not self.model:
            problems.append("model: missing; a server's models are listed at /v1/models")
        for name in ("concurrency", "timeout", "tries", "encoders"):
            # Not `value <= 0`: NaN is refused too.
            if not getattr(self, name) > 0:
                problems.append(f"{name}: expected more than 0, got {getattr(self, name)!r}")
        if not self.first_pause >= 0:
            problems.append(f"first_pause: expected at least 0, got {self.first_pause!r}")
        if taken := sorted({"model", "messages", "stream", self.token_limit} & set(self.extra_body)):
            problems.append(f"extra_body: {', '.join(taken)} is set by the engine itself")
        if problems:
            raise ValueError("\n".join(problems))

    @property
    def description(self) -> dict[str, Any]:
        """Describes what the replies depend on; nothing secret, and not how fast they are asked for."""
        url = httpx.URL(self.base_url)
        return {
            "engine": "openai",
            "base_url": str(url.copy_with(username=None, password=None)),
            "model": self.model,
            **self.media.description(),
            "temperature": self.temperature,
            **({"extra_body": dict(self.extra_body)} if self.extra_body else {}),
        }

    def ask(self, questions: Sequence[Question]) -> Iterator[tuple[str, Reply]]:
        """Yields replies as they come, in any order. Closing the iterator drops the requests under way.

        Raises:
            EndpointError: Nothing listens at the address; or as many questions in a row as there are requests at
                once could not reach the server or were refused by it; or as many, and 16 at least, got no reply in
                all their tries; or no header can carry the key.
        """
        # Requests go on while the caller deals with a reply: they run in an event loop of another thread.
        replies: queue.SimpleQueue[Reply | None] = queue.SimpleQueue()
        with start_blocking_portal() as portal:
            run = portal.start_task_soon(_Run(self, replies).answer_all, questions)
            try:
                while (reply := replies.get()) is not None:
                    yield reply.key, reply
                run.result()
            finally:
                run.cancel()


@dataclass(frozen=True)
class _Failure:
    reason: str
    passing: bool  # another try may succeed
    pause: float = 0.0  # seconds that the server asks to wait
    of_server: bool = False  # every other question would fail like this
    unreached: bool = False  # there was no connection


class _Run:
    """One call of `ask`: its limits, and how many questions have failed in a row."""

    def __init__(self, endpoint: OpenAIEndpoint, replies: "queue.SimpleQueue[Reply | None]") -> None:
        self.endpoint = endpoint
        self.replies = replies
        self.key = os.environ.get(endpoint.api_key_variable, "").strip()
        if not (self.key.isascii() and self.key.isprintable()):
            raise EndpointError(
                f"{endpoint.api_key_variable} holds characters that no HTTP header can carry, such as a line break or "
                "a letter outside of ASCII. Set it to the key alone."
            )
        self.failed_in_a_row = 0
        self.reached = False
        # Encoded media are large, so only a few questions are between their beginning and their reply.
        self.begun = anyio.Semaphore(endpoint.concurrency + endpoint.encoders)
        self.encoding = anyio.CapacityLimiter(endpoint.encoders)
        self.sending = anyio.Semaphore(endpoint.concurrency)

    async def answer_all(self, questions: Sequence[Question]) -> None:
        """Puts a reply per question, then None; also when it raises."""
        # A compressed reply could grow without end while it is read.
        headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        try:
            client = httpx.AsyncClient(
                base_url=self.endpoint.base_url,
                headers=headers | ({"Authorization": f"Bearer {self.key}"} if self.key else {}),
                limits=httpx.Limits(max_connections=self.endpoint.concurrency),
                timeout=httpx.Timeout(None, connect=_CONNECT),
            )
            async with client, anyio.create_task_group() as tasks:
                for question in questions:
                    await self.begun.acquire()
                    tasks.start_soon(self._answer, client, question)
        except BaseExceptionGroup as group:
            # The first error ends the run. Whatever failed in the same moment would have been next.
            raise group.exceptions[0] from None
        finally:
            self.replies.put(None)

    async def _answer(self, client: httpx.AsyncClient, question: Question) -> None:
        try:
            body = await anyio.to_thread.run_sync(self._body, question, limiter=self.encoding)
            if isinstance(body, Reply):
                self.replies.put(body)
                return
            async with self.sending:
                self.replies.put(await self._reply(client, question.key, body))
        finally:
            self.begun.release()

    def _body(self, question: Question) -> bytes | Reply:
        """The request, or the reply of a question whose media cannot be read."""
        endpoint = self.endpoint
        try:
            parts = content(question, endpoint.media)
        except MEDIA_ERRORS as err:
            return Reply(question.key, "", error=f"{type(err).__name__}: {err}")
        body = {
            "model": endpoint.model,
            "messages": [{"role": "user", "content": parts}],
            endpoint.token_limit: question.max_new_tokens,
            **({} if endpoint.temperature is None else {"temperature": endpoint.temperature}),
            **endpoint.extra_body,
        }
        return json.dumps(body).encode()

    async def _reply(self, client: httpx.AsyncClient, key: str, body: bytes) -> Reply:
        """Tries until there is a reply, or no further try makes sense."""
        pause = self.endpoint.first_pause
        for number in range(1, self.endpoint.tries + 1):
            outcome = await self._try(client, key, body)
            if isinstance(outcome, Reply):
                self.failed_in_a_row = 0
                return outcome
            if not outcome.passing or number == self.endpoint.tries:
                break
            if outcome.unreached and not self.reached:
                raise self._unusable(self._without_key(outcome.reason))
            wait = max(pause * random.uniform(0.5, 1.5), outcome.pause)
            reason, tries = self._without_key(outcome.reason), self.endpoint.tries
            logger.info("%s: %s; try %d of %d in %.1f s", key, reason, number + 1, tries, wait)
            await anyio.sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE)
        reason = self._without_key(outcome.reason)
        self.failed_in_a_row = self.failed_in_a_row + 1 if outcome.of_server or outcome.passing else 0
        limit = self.endpoint.concurrency if outcome.of_server else max(_HOPELESS, self.endpoint.concurrency)
        if self.failed_in_a_row >= limit:
            raise self._unusable(f"{self.failed_in_a_row} questions in a row failed, the last with: {reason}")
        return Reply(key, "", error=f"{reason} ({number} tries)" if number > 1 else reason)

    def _unusable(self, why: str) -> EndpointError:
        return EndpointError(
            f"{self.endpoint.description['base_url']}: {why}. Check that the server runs, its address (up to and with "
            f"/v1), the model's name, and the key in {self.endpoint.api_key_variable}."
        )

    async def _try(self, client: httpx.AsyncClient, key: str, body: bytes) -> Reply | _Failure:
        try:
            with anyio.fail_after(self.endpoint.timeout):
                async with client.stream("POST", "chat/completions", content=body) as response:
                    self.reached = True
                    content = await _content(response)
        except TimeoutError:
            return _Failure(f"no reply within {self.endpoint.timeout:g} s", passing=True)
        except httpx.ConnectError as err:
            return _Failure(f"no connection: {err}", passing=True, of_server=True, unreached=True)
        except httpx.ConnectTimeout:
            return _Failure(f"no connection within {_CONNECT:g} s", passing=True, of_server=True)
        except httpx.RequestError as err:
            return _Failure(f"the connection broke: {err or type(err).__name__}", passing=True)
        except _UnreadableReply as err:
            return _Failure(str(err), passing=True)
        if response.status_code != httpx.codes.OK:
            return _refusal(response, content)
        return _read(key, content)

    def _without_key(self, text: str) -> str:
        """Servers like to repeat a key that they refuse."""
        for form in {self.key, repr(self.key)[1:-1], json.dumps(self.key)[1:-1]} - {""}:
            text = text.replace(form, "***")
        return text


class _UnreadableReply(Exception):
    """A reply that is too long, or compressed in a way that was not asked for."""


async def _content(response: httpx.Response) -> bytes:
    """Reads a reply of at most `_LONGEST_REPLY` bytes, compressed or not."""
    content = bytearray()
    async for part in response.aiter_raw():
        content += part
        if len(content) > _LONGEST_REPLY:
            break
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("gzip", "x-gzip", "deflate"):
        try:
            content = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(content, _LONGEST_REPLY + 1)
        except zlib.error as err:
            raise _UnreadableReply(f"the reply's {encoding} encoding is broken ({err})") from err
    elif encoding not in ("", "identity"):
        raise _UnreadableReply(f"the reply came in the encoding {encoding[:40]!r}, which was not asked for")
    if len(content) > _LONGEST_REPLY:
        raise _UnreadableReply(f"the reply is longer than {_LONGEST_REPLY:,} bytes")
    return bytes(content)


def _refusal(response: httpx.Response, content: bytes) -> _Failure:
    """The failure that a status other than 200 stands for."""
    status = response.status_code
    reason = f"{status} {response.reason_phrase}".strip()
    if message := _message(content):
        reason += f": {message}"
    if status // 100 == 3:
        reason += f" (to {response.headers.get('Location', 'nowhere'):.200}; redirects are not followed)"
    passing = status in (httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS) or status >= 500
    pause = _asked_pause(response.headers.get("Retry-After", "")) if passing else 0.0
    if pause > _LONGEST_ASKED_PAUSE:
        return _Failure(f"{reason} (asks to wait for {pause:.0f} s)", passing=False)
    return _Failure(reason, passing, pause, of_server=status in (401, 403, 404) or status // 100 == 3)


def _message(content: bytes) -> str:
    """Returns the server's error message, from any of the common forms."""
    inner = ("error", "message", "detail")
    try:
        found = parse_json(content)
        while isinstance(found, dict) and (name := next((name for name in inner if name in found), None)):
            found = found[name]
        text = found if isinstance(found, str) else json.dumps(found)
    except (ValueError, RecursionError):
        text = content.decode(errors="replace")
    return text.strip()[:500]


def _asked_pause(value: str) -> float:
    """Seconds of a Retry-After header: a number, or a date."""
    if value.strip().isascii() and value.strip().isdigit():
        return float(value)
    try:
        return max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return 0.0


def _read(key: str, content: bytes) -> Reply | _Failure:
    try:
        return of_completion(key, parse_json(content))
    except NO_COMPLETION as err:
        # A server that is shutting down or a proxy between: worth another try.
        found = content[:1000].decode(errors="replace").strip()[:200]
        return _Failure(f"not a chat completion ({type(err).__name__}: {err}): {found!r}", passing=True)
