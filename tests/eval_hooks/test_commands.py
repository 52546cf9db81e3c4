# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d eval`: commands from their arguments to files, on small folders in the published layouts."""

import json
import re
import subprocess
import sys

import pytest

from rgpt4d_plugin.cli import main
from rgpt4d_plugin.eval_hooks import run as run_module
from rgpt4d_plugin.eval_hooks.benchmarks import BENCHMARKS, get
from rgpt4d_plugin.eval_hooks.replies import Reply, ReplyFile
from rgpt4d_plugin.eval_hooks.scoring import Result, sample
from tests.benchmark_folders import write_folder


ITEMS = 12


@pytest.fixture
def r4d(tmp_path):
    """A folder, and a file with the right answer to every item but the last."""
    write_folder("r4d_bench", tmp_path / "R4D", ITEMS)
    data = get("r4d_bench").load(tmp_path / "R4D")
    lines = [
        {"key": get("r4d_bench").key(item), "reply": get("r4d_bench").gold(item) or "A"} for item in data.items[:-1]
    ]
    (tmp_path / "replies.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def score(folder, *more: str, benchmark: str = "r4d_bench", data: str = "R4D", replies: str = "replies.jsonl") -> int:
    places = ("--data", f"{folder / data}", "--replies", f"{folder / replies}", "--out", f"{folder / 'run'}")
    return main(["eval", "score", "--benchmark", benchmark, *places, *more])


def test_help_is_light():
    """What `rgpt4d eval score --help` imports."""
    code = (
        "import sys\nfrom rgpt4d_plugin.cli import main\n"
        "try:\n    main(['eval', 'score', '--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'numpy', 'matplotlib', 'pyarrow', 'llamafactory', 'omegaconf'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "rgpt4d eval score --benchmark r4d_bench" in " ".join(done.stdout.split())
    assert done.stdout.splitlines()[-1] == "[]"


def test_scoring_needs_neither_torch_nor_matplotlib():
    code = (
        "import sys\nimport rgpt4d_plugin.eval_hooks.commands\n"
        "print(sorted({'torch', 'transformers', 'matplotlib', 'llamafactory'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_score_and_report(r4d, capsys):
    assert score(r4d, "--model", "tiny", "--frames", "16") == 0
    printed = capsys.readouterr().out
    assert "11 of 12 answered; 1 missing counts as wrong" in printed
    result = Result.read(r4d / "run" / "r4d_bench")
    assert result.settings["frames"] == 16 and result.settings["engine"] == {"model": "tiny"}
    assert f"{result.columns['official']['Avg'].value:.1f} [" in printed

    assert main(["eval", "report", str(r4d / "run"), "--out", str(r4d / "page")]) == 0
    assert capsys.readouterr().out.split() == [str(r4d / "page" / name) for name in ("report.md", "report.html")]
    assert "R4D-Bench" in (r4d / "page" / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_is_scored_and_reported(name, tmp_path):
    """From its published layout: right answers are worth 100 under both readings where every item has one."""
    write_folder(name, tmp_path / "data", 9)
    benchmark = get(name)
    items = benchmark.load(tmp_path / "data").items
    form = "Answer: {}" if name == "omnispatial" else "{}"
    lines = [{"key": benchmark.key(item), "reply": form.format(benchmark.gold(item) or "A")} for item in items]
    (tmp_path / "replies.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert score(tmp_path, "--frames", "16", benchmark=name, data="data") == 0
    result = Result.read(tmp_path / "run" / name)
    assert all(rule is not None for rule in result.rules.values()), "every column has an interval"
    without = result.counts["no_gold"]
    for reading in ("official", "strict"):
        assert sum(result.scores(reading)) == len(items) - without
    assert main(["eval", "report", str(tmp_path / "run"), "--out", str(tmp_path / "run")]) == 0
    assert benchmark.title in (tmp_path / "run" / "report.md").read_text()


def test_a_sample_is_scored(r4d, capsys):
    assert score(r4d, "--limit", "5", "--seed", "3") == 0
    result = Result.read(r4d / "run" / "r4d_bench")
    items = sample(get("r4d_bench"), get("r4d_bench").load(r4d / "R4D").items, 5, 3)
    assert [row.key for row in result.rows] == [get("r4d_bench").key(item) for item in items]
    assert "of 5 answered" in capsys.readouterr().out


def own_file(r4d, **settings) -> None:
    data = get("r4d_bench").load(r4d / "R4D")
    told = {"benchmark": "r4d_bench", "revision": data.revision, "style": "direct", "frames": 8, "limit": 6, "seed": 2}
    file = ReplyFile.open(r4d / "own.jsonl", told | {"engine": {"model": "tiny"}} | settings)
    items = sample(get("r4d_bench"), data.items, 6, 2)
    file.append(*(Reply(get("r4d_bench").key(item), "A") for item in items))


def test_a_file_of_ours_knows_its_sample(r4d, capsys):
    own_file(r4d)
    assert score(r4d, replies="own.jsonl") == 0
    assert "6 of 6 answered" in capsys.readouterr().out
    assert score(r4d, "--limit", "3", replies="own.jsonl") == 0
    assert "3 of 3 answered" in capsys.readouterr().out
    assert Result.read(r4d / "run" / "r4d_bench").settings["frames"] == 8


@pytest.mark.parametrize(
    ("more", "settings", "message"),
    [
        (("--limit", "7"), {}, "does not hold that of 7 with seed 2"),
        (("--seed", "1"), {}, "does not hold that of 6 with seed 1"),
        (("--frames", "16"), {}, "made with frames 8, not 16"),
        (("--style", "cot"), {}, "made with style 'direct', not 'cot'"),
        (("--model", "large"), {}, "those of 'tiny', not of 'large'"),
        ((), {"benchmark": "vlm4d"}, "own.jsonl: the replies are to 'vlm4d', not to r4d_bench"),
        ((), {"revision": "old"}, "another revision of R4D-Bench: old"),
    ],
)
def test_what_contradicts_a_file_of_ours_is_an_error(r4d, capsys, more, settings, message):
    own_file(r4d, **settings)
    assert score(r4d, *more, replies="own.jsonl") == 1
    error = capsys.readouterr().err
    assert error.startswith("rgpt4d eval score: ") and message in error
    assert not (r4d / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "nowhere"), "nowhere"),
        (("--replies", "nothing.jsonl"), "nothing.jsonl: no such file"),
        (("--replies", "R4D/test.json"), "not JSON|no known format|expected an object"),
        (("--limit", "13"), "limit is 13, but R4D-Bench has 12 items"),
        (("--style", "rude"), "no prompt style 'rude'"),
    ],
)
def test_mistakes_are_one_clear_message(r4d, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(r4d)
    given = {"--benchmark": "r4d_bench", "--data": "R4D", "--replies": "replies.jsonl", "--out": "run"}
    given[arguments[0]] = arguments[1]
    assert main(["eval", "score", *(word for pair in given.items() for word in pair)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("rgpt4d eval score: ") and re.search(message, error)
    assert "Traceback" not in error


def test_a_report_of_nothing_is_an_error(tmp_path, capsys):
    assert main(["eval", "report", str(tmp_path), "--out", str(tmp_path)]) == 1
    assert "rgpt4d eval report: " in capsys.readouterr().err


RECIPE = (
    "model_name_or_path: nowhere\ntemplate: qwen2_vl\np4d_eval:\n  benchmarks: {{r4d_bench: {data}}}\n  limit: 6\n"
)


@pytest.fixture
def recipe(r4d):
    path = r4d / "eval.yaml"
    path.write_text(RECIPE.format(data=r4d / "R4D"))
    return path


class RightAnswers:
    """An engine that answers "A" to everything, and notes what it was made with."""

    made: list = []

    def __init__(self, *arguments, **settings):
        self.made.append((arguments, settings))
        self.description = {"model": "always A"}

    def ask(self, questions):
        for question in questions:
            yield question.key, Reply(question.key, "A")


@pytest.mark.slow
def test_run_asks_a_server_and_goes_on(recipe, r4d, capsys, monkeypatch):
    from rgpt4d_plugin.eval_hooks.engines import openai_endpoint

    monkeypatch.setattr(openai_endpoint, "OpenAIEndpoint", RightAnswers)
    RightAnswers.made.clear()
    command = [
        "eval",
        "run",
        str(recipe),
        "video_max_pixels=1024",
        "--out",
        str(r4d / "run"),
        "--server",
        "http://x/v1",
    ]
    assert main([*command, "--model", "m", "--concurrency", "3"]) == 0
    arguments, settings = RightAnswers.made[0]
    assert arguments[:2] == ("http://x/v1", "m") and arguments[2].video_max_pixels == 1024
    assert settings == {"concurrency": 3}
    assert "6 of 6 answered" in capsys.readouterr().out
    assert (r4d / "run" / "report.html").is_file()
    first = (r4d / "run" / "report.html").read_bytes()

    replies = r4d / "run" / "r4d_bench" / "replies.jsonl"
    content = replies.read_bytes()
    replies.write_bytes(content[: len(content) // 2])
    assert main([*command, "--model", "m"]) == 0
    assert (r4d / "run" / "report.html").read_bytes() == first


def test_a_run_in_which_every_question_failed_ends_with_an_error(recipe, r4d, capsys, monkeypatch):
    from rgpt4d_plugin.eval_hooks.engines import openai_endpoint

    def failures(self, asked):
        return ((question.key, Reply(question.key, "", error="400 no such model")) for question in asked)

    monkeypatch.setattr(openai_endpoint, "OpenAIEndpoint", RightAnswers)
    monkeypatch.setattr(RightAnswers, "ask", failures)
    command = ["eval", "run", str(recipe), "--out", str(r4d / "run"), "--server", "http://x/v1", "--model", "m"]
    assert main(command) == 1
    assert "no question was answered: 6 failed, the first with: 400 no such model" in capsys.readouterr().err
    assert (r4d / "run" / "report.html").is_file()


def test_run_asks_the_recipe_s_model(recipe, r4d, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(run_module, "run_with_host", lambda recipe, out: asked.append((recipe, out)) or [])
    assert main(["eval", "run", str(recipe), "p4d_eval.limit=4", "--out", str(r4d / "nothing")]) == 1
    assert asked[0][0]["p4d_eval"]["limit"] == 4 and asked[0][1] == str(r4d / "nothing")
    assert "no results" in capsys.readouterr().err


def test_run_writes_where_the_recipe_says(recipe, r4d, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(run_module, "run_with_host", lambda recipe, out: asked.append(out) or [])
    assert main(["eval", "run", str(recipe)]) == 1
    assert "where to write? Give --out, or p4d_eval.out or output_dir" in capsys.readouterr().err
    main(["eval", "run", str(recipe), f"output_dir={r4d}/a"])
    main(["eval", "run", str(recipe), f"output_dir={r4d}/a", f"p4d_eval.out={r4d}/b"])
    assert asked == [f"{r4d}/a", f"{r4d}/b"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--server", "http://x/v1"), "--server needs --model"),
        (("--model", "m"), "--model and --concurrency are for --server"),
        (("--server", "x", "--model", "m"), "base_url"),
        (("p4d_eval.benchmarks.r4d_bench=nowhere", "--server", "http://x/v1", "--model", "m"), "nowhere"),
    ],
)
def test_run_s_mistakes(recipe, r4d, capsys, more, message):
    assert main(["eval", "run", str(recipe), *more, "--out", str(r4d / "run")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("rgpt4d eval run: ") and message in error


def test_a_recipe_without_the_block_is_an_error(r4d, capsys):
    (r4d / "sft.yaml").write_text("model_name_or_path: x\n")
    assert main(["eval", "run", str(r4d / "sft.yaml"), "--out", "x"]) == 1
    assert "has no `p4d_eval:` block" in capsys.readouterr().err
    (r4d / "sft.yaml").write_text("model_name_or_path: x\np4d_eval: [r4d_bench]\n")
    assert main(["eval", "run", str(r4d / "sft.yaml"), "--out", "x"]) == 1
    assert "p4d_eval: expected a mapping, got ['r4d_bench']" in capsys.readouterr().err


def test_an_interrupted_command_says_so_and_exits_as_the_shell_expects(r4d, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("rgpt4d_plugin.eval_hooks.commands.score", interrupted)
    assert score(r4d) == 130
    assert capsys.readouterr().err == "rgpt4d eval score: interrupted\n"
