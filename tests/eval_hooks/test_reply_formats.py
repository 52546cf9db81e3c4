# SPDX-License-Identifier: Apache-2.0
"""Replies from other programs: read by their fields, matched to the items, and refused where they do not fit."""

import json

import pytest

from rgpt4d_plugin.eval_hooks.replies import Reply, ReplyFile, ReplyFileError
from rgpt4d_plugin.eval_hooks.reply_formats import read_replies
from tests.toy_benchmark import Toy, toy_items, write_toy


ITEMS = toy_items(12)
GOLD = [Toy().gold(item) for item in ITEMS]


@pytest.fixture
def read(tmp_path):
    """Writes lines to a file and reads them as replies."""
    data = write_toy(tmp_path / "toy", ITEMS)

    def read(*records, **sample):
        path = tmp_path / "replies.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return read_replies(path, Toy(), data, **sample)

    return read


def message(read, *records, **sample) -> str:
    with pytest.raises(ReplyFileError) as raised:
        read(*records, **sample)
    return str(raised.value)


def test_our_own_file(tmp_path):
    data = write_toy(tmp_path / "toy", ITEMS)
    file = ReplyFile.open(tmp_path / "replies.jsonl", {"engine": {"model": "tiny"}})
    file.append(Reply("toy/1", "", error="timed out"), Reply("toy/0", "A"))
    found = read_replies(file.path, Toy(), data)
    assert (found.format, found.settings, found.replies) == ("rgpt4d", file.settings, file.replies)


def host_lines(**changed) -> list[dict]:
    return [{"prompt": "user\n", "predict": f" {g or 'A'}\n", "label": g or "D", **changed} for g in GOLD]


def test_host_predictions_go_by_their_order(read):
    found = read(*host_lines())
    assert found.format == "host"
    assert found.replies["toy/2"] == Reply("toy/2", " C\n")
    assert len(found.replies) == 12
    assert set(found.settings["replies"]) == {"file", "format", "sha256"}


def test_host_predictions_of_a_sample(read):
    from rgpt4d_plugin.eval_hooks.scoring import sample

    chosen = sample(Toy(), ITEMS, 4, seed=2)
    lines = [{"prompt": "", "predict": "A", "label": Toy().gold(item) or ""} for item in chosen]
    assert list(read(*lines, limit=4, seed=2).replies) == [Toy().key(item) for item in chosen]
    assert len(read(*host_lines(), limit=4, seed=2).replies) == 12, "predictions of all items are as good"


def test_host_predictions_must_be_as_many_as_the_items(read):
    text = message(read, *host_lines()[:-1])
    assert "11 predictions, but Toy-Bench" in text and "12 items." in text
    assert "the sample 4" in message(read, *host_lines()[:-1], limit=4)


def test_host_predictions_in_another_order_are_seen_by_their_labels(read):
    lines = host_lines()
    lines[0], lines[1] = lines[1], lines[0]
    text = message(read, *lines)
    assert "line 1: the right answer to 'toy/0' is 'A' here, but 'B' in the file" in text
    assert "line 2: the right answer to 'toy/1' is 'B' here, but 'A' in the file" in text
    assert "line 3" not in text


@pytest.mark.parametrize("label", ["B", " (B)\n", "b", "B.", "0", ""])
def test_labels_may_be_letters_or_the_text_of_the_option(read, label):
    lines = host_lines()
    lines[1]["label"] = label
    assert len(read(*lines).replies) == 12


def test_lmms_eval_samples_by_document_or_number(read):
    with_document = {"doc_id": 5, "doc": ITEMS[4], "resps": [["A"]], "filtered_resps": ["a"], "target": "A"}
    by_number = {"doc_id": 2, "input": "...", "filtered_resps": "C.", "target": "C", "doc_hash": "x"}
    found = read(with_document, by_number)
    assert found.format == "lmms-eval"
    assert list(found.replies.values()) == [Reply("toy/4", "A"), Reply("toy/2", "C.")]


def test_an_lmms_eval_document_without_an_id_goes_by_number_and_prompt(read, tmp_path):
    class Rows(Toy):
        def key(self, item):
            return f"row/{item['id']}" if "id" in item else f"text/{item['question']}"

    data = write_toy(tmp_path / "rows", ITEMS)
    document = {name: value for name, value in ITEMS[3].items() if name != "id"}
    path = tmp_path / "samples.jsonl"
    path.write_text(json.dumps({"doc_id": 3, "doc": document, "resps": [["D"]], "target": "D"}))
    assert read_replies(path, Rows(), data).replies == {"row/3": Reply("row/3", "D")}
    path.write_text(json.dumps({"doc_id": 2, "doc": document, "resps": [["D"]], "target": "D"}))
    with pytest.raises(ReplyFileError, match="'text/Question 3 <b>.' is no item"):
        read_replies(path, Rows(), data)


def test_lmms_eval_samples_that_do_not_fit(read):
    text = message(
        read,
        {"doc_id": 12, "filtered_resps": ["A"]},
        {"doc_id": 0, "filtered_resps": ["A"], "target": "B"},
        {"doc_id": 1, "filtered_resps": ["A", "B"]},
        {"doc_id": 2, "doc": {"id": 77, "question": "?"}, "filtered_resps": ["A"]},
        {"doc_id": 3, "doc": {"number": 3}, "filtered_resps": ["A"]},
    )
    assert "line 1: doc_id is 12, expected the number of an item, 0 to 11" in text
    assert "line 2: the right answer to 'toy/0' is 'A' here, but 'B'" in text
    assert "line 3: expected one reply, found ['A', 'B']" in text
    assert "line 4: 'toy/77' is no item" in text
    assert "line 5: `doc` is no item as published (KeyError: 'id')" in text


def batch_line(key: str, content: str | None, **more) -> dict:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    choice["message"] |= more.pop("message", {})
    return {
        "id": "vllm-1",
        "custom_id": key,
        "response": {"status_code": 200, "body": {"choices": [choice | more]}},
        "error": None,
    }


def test_openai_batches(read):
    found = read(
        batch_line("toy/0", "(A)"),
        batch_line("toy/1", "B, since", finish_reason="length"),
        batch_line("toy/2", None, message={"refusal": "I cannot."}),
        {"custom_id": "toy/3", "response": None, "error": {"code": "x", "message": "expired"}},
        {
            "custom_id": "toy/4",
            "response": {"status_code": 429, "body": {"error": {"message": "slow down"}}},
            "error": None,
        },
    )
    assert found.format == "openai"
    assert list(found.replies.values()) == [
        Reply("toy/0", "(A)"),
        Reply("toy/1", "B, since", truncated=True),
        Reply("toy/2", "I cannot."),
        Reply("toy/3", "", error="expired"),
        Reply("toy/4", "", error="slow down"),
    ]


def test_broken_batches(read):
    text = message(
        read,
        {"custom_id": 5, "response": {}},
        {"custom_id": "toy/1", "response": {"body": {"choices": []}}},
        batch_line("toy/2", ["A"]),
    )
    assert "line 1: custom_id is 5" in text
    assert "line 2: response.body is not a chat completion (" in text
    assert "line 3: response.body is not a chat completion (TypeError: content is no text)" in text


@pytest.mark.parametrize("body", [["A"], "A", 3, None])
def test_batches_whose_body_is_no_object(read, body):
    said = message(read, {"custom_id": "toy/1", "response": {"body": body}})
    assert "line 1: response.body is not a chat completion (TypeError: " in said


@pytest.mark.parametrize(
    ("body", "error"),
    [(["down"], "['down']"), ("down", "down"), (None, "status 500"), ({"error": {"message": "down"}}, "down")],
)
def test_failed_lines_of_a_batch_are_failures_whatever_their_body(read, body, error):
    found = read({"custom_id": "toy/1", "response": {"status_code": 500, "body": body}})
    assert found.replies == {"toy/1": Reply("toy/1", "", error=error)}


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"limit": "3"}, "limit is '3'"),
        ({"limit": -3}, "limit is -3"),
        ({"limit": True}, "limit is True"),
        ({"frames": -1}, "frames is -1"),
        ({"seed": "x", "style": 1}, "style is 1; seed is 'x'"),
        ({"engine": 5}, "engine is 5"),
        ({"benchmark": ["toy"]}, "benchmark is ['toy']"),
    ],
)
def test_settings_that_no_run_has_are_refused(read, settings, found):
    assert f"replies.jsonl, line 1: settings that no run has: {found}." in message(read, {"settings": settings})


@pytest.mark.parametrize("name", ["key", "id"])
@pytest.mark.parametrize("field", ["reply", "response", "text"])
def test_plain_lines(read, name, field):
    found = read({name: "toy/0", field: "A"}, {name: "toy/1", field: "B", "cut": True}, {name: "toy/2", "error": "x"})
    assert found.format == "plain"
    assert list(found.replies.values()) == [
        Reply("toy/0", "A"),
        Reply("toy/1", "B", truncated=True),
        Reply("toy/2", "", error="x"),
    ]


def test_all_problems_of_a_file_are_told_at_once(read):
    text = message(
        read,
        {"key": "toy/0", "reply": "A"},
        {"key": "toy/0", "reply": "B"},
        {"key": "toy/77", "reply": "B"},
        {"key": "toy/1", "reply": None},
        {"key": True, "reply": "B"},
        {"key": "toy/2", "reply": "A", "text": "B"},
        {"reply": "A"},
    )
    assert "line 2: 'toy/0' has been answered in line 1" in text
    assert "line 3: 'toy/77' is no item (keys look like 'toy/0'" in text
    assert "line 4: `reply` is None, expected text" in text
    assert "line 5: `key` is True" in text
    assert "line 6: expected one of key, id, and one of reply, response, text; found key, reply, text" in text
    assert "line 7: expected one of key, id" in text


def test_a_long_list_of_problems_is_cut(read):
    text = message(read, *({"key": f"x{i}", "reply": "A"} for i in range(1500)))
    assert text.count("is no item") == 8 and text.endswith("and 1,492 more")


def test_unknown_formats_name_the_known_ones(read, tmp_path):
    text = message(read, {"question": "?", "answer": "A"})
    assert "no known format of replies has lines with the fields question, answer" in text
    for name in ("rgpt4d:", "host:", "lmms-eval:", "openai:", "plain:"):
        assert name in text
    assert "no replies" in message(read)
    with pytest.raises(ReplyFileError, match="no such file"):
        read_replies(tmp_path / "nothing.jsonl", Toy(), write_toy(tmp_path / "toy", ITEMS))
