# SPDX-License-Identifier: Apache-2.0
"""What annotators said: versions, merges, disagreements, agreement, export; and the server around it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
from starlette.testclient import TestClient

from rgpt4d_plugin.annotate.agreement import kappa
from rgpt4d_plugin.annotate.command import annotate
from rgpt4d_plugin.annotate.server import Page, application
from rgpt4d_plugin.annotate.workbook import Drawn, Workbook, merge, of_video
from rgpt4d_plugin.cli import main
from rgpt4d_plugin.regions.masks import encode_rle
from rgpt4d_plugin.synth4d.clips import encode_mp4


MESSAGES = [{"role": "user", "content": "<video>Is <obj_1> red?"}, {"role": "assistant", "content": "Yes."}]
BOX = {"frame": 2, "box": [10, 10, 30, 40]}


@pytest.fixture
def workbook(tmp_path):
    (tmp_path / "a.mp4").write_bytes(encode_mp4(np.zeros((12, 48, 64, 3), np.uint8), 4))
    clip = {"path": "a.mp4", "start": 0.5, "end": 2.5}
    regions = json.dumps([{"id": "obj_1", "name": "ball", "frame": 2, "box": BOX["box"]}])
    records = [{"id": f"q{number}", "messages": MESSAGES, "videos": [clip], "regions": regions} for number in range(4)]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return Workbook(tmp_path / "q.jsonl", tmp_path)


def say(workbook, record, by, verdict=None, regions=None, **more):
    seen = workbook.current(record, by)
    values = seen.model_dump() | {"by": by, "verdict": verdict} | more
    return workbook.save(values | ({} if regions is None else {"regions": regions}))


def drawn(number, x, name=""):
    return Drawn(number=number, name=name, entries=[{"frame": 2, "box": [x, 10, x + 10, 20]}])


def test_versions_and_independence(workbook):
    assert workbook.current(0, "ann").regions[0].entries == [BOX]
    assert workbook.frames(0) == (2, 9)
    say(workbook, 0, "ann", regions=[drawn(1, 5).model_dump()])
    assert workbook.current(0, "ann").version == 1
    assert workbook.current(0, "ann").regions == [drawn(1, 5)]
    assert workbook.current(0, "bob").regions[0].entries == [BOX]
    again = Workbook(workbook.path, workbook.media)
    assert again.current(0, "ann").regions == [drawn(1, 5)]


def test_a_page_that_saw_an_older_version_is_merged(workbook):
    old = workbook.current(0, "ann").model_dump() | {"by": "ann"}
    workbook.save(old | {"regions": [*old["regions"], drawn(2, 5, "mine").model_dump()]})
    late = workbook.save(old | {"regions": [*old["regions"], drawn(2, 40, "other").model_dump()], "verdict": "accept"})
    assert [(each.number, each.name) for each in late.regions] == [(1, "ball"), (2, "other"), (3, "mine")]
    assert late.verdict is None and late.version == 2  # nobody has seen the two together


def test_merge():
    base = [drawn(1, 0), drawn(2, 0)]
    assert merge(base, base, [drawn(1, 3)]) == [drawn(1, 3)]  # they moved one and removed one
    assert merge(base, [drawn(1, 3)], base) == [drawn(1, 3)]
    assert merge(base, [drawn(2, 0)], [drawn(1, 4), drawn(2, 0)]) == [drawn(2, 0), drawn(3, 4)]
    assert merge(base, [drawn(1, 3), drawn(2, 0)], [drawn(1, 3), drawn(2, 0)]) == [drawn(1, 3), drawn(2, 0)]


def test_disagreements_and_export(workbook, tmp_path):
    say(workbook, 0, "ann", "accept")
    say(workbook, 0, "bob", "accept")
    say(workbook, 1, "ann", "accept")
    say(workbook, 1, "bob", "reject", reason="wrong answer")
    say(workbook, 2, "ann", "correct", [drawn(1, 5).model_dump()])
    say(workbook, 2, "bob", "correct", [drawn(1, 9).model_dump()])
    states = [each["status"] for each in workbook.overview()["records"]]
    assert states == ["accept", "disputed", "disputed", "open"]
    assert workbook.overview()["agreement"][0]["kappa"] == pytest.approx((2 / 3 - 1 / 3) / (1 - 1 / 3))
    assert workbook.export(tmp_path / "out", "done") == 1

    say(workbook, 2, "eve", "correct", [drawn(1, 7).model_dump()], final=True)
    assert workbook.export(tmp_path / "out", "done") == 2
    records = [json.loads(line) for line in (tmp_path / "out/done.jsonl").read_text().splitlines()]
    assert json.loads(records[1]["regions"])[0]["box"] == [7, 10, 17, 20]
    assert records[1]["reviewed"] == "ann, bob, eve"
    assert json.loads((tmp_path / "out/dataset_info.json").read_text())["done"]["formatting"] == "rgpt4d"
    say(workbook, 0, "ann")  # touched after the verdict: it has none any more
    assert workbook.overview()["records"][0]["verdicts"] == {"bob": "accept"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"regions": [{"number": 1, "entries": [{"frame": 99, "box": [1, 1, 9, 9]}]}]}, "past the end"),
        ({"regions": [{"number": 1, "entries": [{"frame": 2, "box": [1, 1, 900, 9]}]}]}, "leaves the frame"),
        ({"regions": [{"number": 1, "entries": []}]}, "entries"),
        ({"regions": [], "verdict": "accept"}, "<obj_1> is named"),
        ({"verdict": "perhaps"}, "expected one of 'accept'"),
        ({"by": ""}, "by: expected text"),
        ({"record": 9}, "there are 4"),
        ({"colour": 1}, "unknown key"),
    ],
)
def test_what_does_not_fit_is_not_kept(workbook, changes, message):
    values = workbook.current(0, "ann").model_dump() | {"by": "ann"}
    with pytest.raises(ValueError, match=message):
        workbook.save(values | changes)
    assert not workbook.journal.path.exists()


def test_kappa():
    assert kappa([("a", "a"), ("r", "r")]) == 1.0
    assert kappa([("a", "r"), ("r", "a")]) == -1.0
    # 35 of 50 agreed, 25 expected by chance.
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    assert kappa(pairs) == pytest.approx(0.4)
    assert kappa([]) is None and kappa([("a", "a")]) is None


@pytest.fixture
def client(workbook):
    def follow(frames, start, boxes):
        mask = np.zeros((48, 64), bool)
        mask[10:20, 10:30] = True
        return [[mask if number != 1 else ~(mask | ~mask) for number in range(len(frames))]]

    return TestClient(application(Page(workbook, tracker=follow)), base_url="http://127.0.0.1")


def test_the_server(client, workbook):
    assert client.get("/").text.startswith("<!doctype html>")
    found = client.post("/api/record", json={"record": 0, "by": "ann"}).json()
    assert (found["width"], found["height"], found["first"], len(found["times"])) == (64, 48, 2, 8)
    assert client.get("/frame/0/5").headers["content-type"] == "image/jpeg"
    assert client.get("/frame/0/1").status_code == 404  # before the clip's start
    shown = client.post(
        "/api/preview",
        json={"record": 0, "regions": found["regions"], "question": "Is <obj_1> red?", "style": "som_image"},
    ).json()
    assert shown["text"].startswith("<image><video>The first image is a set-of-mark")
    assert len(shown["pictures"]) == 1 + 8
    refused = client.post("/api/ask", json={"record": 0, "regions": found["regions"], "question": ""})
    assert refused.status_code == 400 and "--server URL" in refused.json()["error"]
    followed = client.post("/api/follow", json={"record": 0, "frame": 4, "box": [1, 1, 9, 9]}).json()["entries"]
    assert [entry["frame"] for entry in followed] == [2, 4, 5, 6, 7, 8, 9]
    # The page's plain run lengths come back, and are kept as what they are.
    values = {"record": 0, "by": "ann", "version": 0, "regions": [{"number": 1, "name": "", "entries": followed}]}
    assert client.post("/api/save", json=values).json()["version"] == 1
    assert client.post("/api/overview", json={}).json()["file"] == "q.jsonl"


def test_other_sites_are_refused(client, workbook):
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400
    form = client.post("/api/save", content="{}", headers={"content-type": "text/plain"})
    assert form.status_code == 415
    assert not workbook.journal.path.exists()


def test_asking_a_server(workbook):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            pictures = [part for part in body["messages"][0]["content"] if part["type"] == "image_url"]
            reply = {"choices": [{"message": {"content": f"{body['model']}: {len(pictures)}"}}]}
            content = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        page = Page(workbook, f"http://127.0.0.1:{server.server_port}/v1", "tiny")
        regions = [{"number": 1, "name": "", "entries": [BOX]}]
        assert page.ask({"record": 0, "regions": regions, "question": "Is <obj_1> red?"}) == {"reply": "tiny: 8"}
        thread.join()
    with pytest.raises(ValueError, match="ConnectError"):
        page.ask({"record": 0, "regions": regions, "question": "Is <obj_1> red?"})


def test_masks_of_records_are_shown(workbook, tmp_path):
    mask = np.zeros((48, 64), bool)
    mask[3, 4] = True
    record = {"videos": ["a.mp4"], "messages": [], "regions": [{"id": "obj_3", "frame": 0, "mask": encode_rle(mask)}]}
    (tmp_path / "m.json").write_text(json.dumps([record]))
    found = Page(Workbook(tmp_path / "m.json", tmp_path)).record({"record": 0, "by": "ann"})
    assert found["regions"][0]["entries"][0]["mask"] == {"size": [48, 64], "counts": [4 * 48 + 3, 1, 48 * 64 - 196]}


def test_a_video_becomes_a_file_of_records(tmp_path):
    (tmp_path / "v.mp4").write_bytes(encode_mp4(np.zeros((4, 32, 32, 3), np.uint8), 4))
    path = of_video(tmp_path / "v.mp4")
    assert Workbook(path, tmp_path).current(0, "ann").regions == []
    path.write_text(path.read_text().replace('"id": "v"', '"id": "mine"'))
    assert Workbook(of_video(tmp_path / "v.mp4"), tmp_path).records[0]["id"] == "mine"


def test_command_line_errors(tmp_path, capsys):
    assert main(["annotate", str(tmp_path / "no.json")]) == 1
    assert "no such file" in capsys.readouterr().err
    (tmp_path / "n.mp4").write_bytes(b"no video")
    assert main(["annotate", str(tmp_path / "n.mp4")]) == 1
    assert "is not a readable video" in capsys.readouterr().err
    (tmp_path / "e.json").write_text('[{"videos": []}]')
    with pytest.raises(ValueError, match="record 0: expected one video"):
        annotate(SimpleNamespace(what=str(tmp_path / "e.json"), server=None, media_root=None, tracker=None))
