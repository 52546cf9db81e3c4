# SPDX-License-Identifier: Apache-2.0
"""Engines that answer the questions: the host's Hugging Face engine, or a server that speaks the OpenAI protocol."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from rgpt4d_plugin.eval_hooks.benchmark_task import Question
from rgpt4d_plugin.eval_hooks.replies import Reply


class Engine(Protocol):
    """Answers questions, greedily.

    Attributes:
        description: Model, adapter, template, decoding, versions: JSON values that the replies depend on. They are
            kept with the replies, and a run is only resumed by an engine of the same description.
    """

    description: Mapping[str, Any]

    def ask(self, questions: Sequence[Question]) -> Iterator[tuple[str, Reply]]:
        """Yields (key, reply) of every question, as they come, in any order.

        A question whose media cannot be read, or that the engine gives up on, has a reply with an error. In a run of
        several processes all of them ask the same questions and get all replies.
        """
