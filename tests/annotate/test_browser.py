# SPDX-License-Identifier: Apache-2.0
"""The page in a headless Chromium: draw, save, reload, verify by two annotators, settle, export, train two steps.

`make test-browser` installs what it needs. With RGPT4D_SCREENSHOTS=DIR the pictures of the docs are made anew.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from rgpt4d_plugin.regions.bounds import box_around
from rgpt4d_plugin.synth4d.clips import write_clips
from tests.harness import train_here


webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed; make test-browser does that")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; make test-browser installs it"),
]


class Served:
    """`rgpt4d annotate` in a process of its own, which can be killed and started again at the same address."""

    def __init__(self, records):
        self.records = records
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/"

    def start(self):
        run = "from rgpt4d_plugin.cli import main; raise SystemExit(main())"
        command = [sys.executable, "-c", run, "annotate", str(self.records), "--port", str(self.port)]
        self.process = subprocess.Popen(command)
        wait(self._answers, 2400)

    def _answers(self):
        assert self.process.poll() is None, "the server ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self):
        self.process.kill()
        self.process.wait()


def wait(holds, tries=600):
    """Waits until something holds, and returns it."""
    for _ in range(tries):
        if found := holds():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come true")


def largest_ball(folder, frame):
    """Box of the ball of the first clip that fills most of a frame."""
    with np.load(folder / "ground_truth/clip_00000.npz") as maps:
        balls = maps["instance"][frame]
    return box_around(balls == max(set(balls[balls >= 0]), key=lambda ball: (balls == ball).sum()))


class Browser:
    """One tab."""

    def __init__(self, driver, url):
        self.driver, self.url = driver, url

    def open(self, by):
        self.driver.get(self.url)
        self.script("localStorage.setItem('by', arguments[0])", by)
        self.driver.get(self.url)
        wait(lambda: self.script("return record !== null && images.get(at) && images.get(at).complete"))

    def script(self, text, *values):
        return self.driver.execute_script(text, *values)

    def text(self, name):
        return self.script("return document.getElementById(arguments[0]).textContent", name)

    def drag(self, start, end):
        """Draws with the mouse, in pixels of the video."""
        from selenium.webdriver.common.action_chains import ActionChains

        canvas = self.driver.find_element("id", "canvas")
        area = self.script("const a = canvas.getBoundingClientRect(); return [a.width, a.height]")
        size = self.script("return [record.width, record.height]")
        x1, y1, x2, y2 = (
            round(value * area[at % 2] / size[at % 2] - area[at % 2] / 2) for at, value in enumerate([*start, *end])
        )
        actions = ActionChains(self.driver, duration=20)
        actions.move_to_element_with_offset(canvas, x1, y1).click_and_hold()
        actions.move_to_element_with_offset(canvas, x2, y2).release().perform()

    def press(self, keys):
        from selenium.webdriver.common.action_chains import ActionChains

        self.script("document.activeElement.blur()")
        ActionChains(self.driver).send_keys(keys).perform()

    def type(self, name, text):
        field = self.driver.find_element("id", name)
        field.clear()
        field.send_keys(text)
        self.script("document.activeElement.blur()")
        self.script("return queue.then(() => true)")

    def regions(self):
        return self.script("return record.regions")

    def picture(self, name):
        if folder := os.environ.get("RGPT4D_SCREENSHOTS"):
            time.sleep(0.3)
            self.driver.save_screenshot(str(Path(folder, name)))


@pytest.fixture(scope="module")
def driver():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1360,860"):
        options.add_argument(flag)
    path = shutil.which("chromedriver")
    service = webdriver.ChromeService(path) if path else None
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture
def served(tmp_path):
    folder = write_clips(tmp_path / "clips", count=2, held_out=0.0, height=128, width=160)
    records = [
        {"id": f"clip {number}", "videos": [f"videos/clip_0000{number}.mp4"], "messages": []} for number in range(2)
    ]
    (folder / "mine.json").write_text(json.dumps(records))
    served = Served(folder / "mine.json")
    yield served
    served.kill()


def journal(served):
    path = served.records.with_suffix(".marks.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_from_a_box_to_two_trained_steps(driver, served, assets, tmp_path):
    page = Browser(driver, served.url)
    page.open("ann")

    # Draw a box, draw it again twelve frames later: it is followed in between.
    first, last = largest_ball(served.records.parent, 0), largest_ball(served.records.parent, 12)
    page.drag(first[:2], first[2:])
    wait(lambda: len(journal(served)) == 1)
    page.press("\ue014" * 12)  # right
    page.drag(last[:2], last[2:])
    wait(lambda: len(journal(served)) == 2)
    (region,) = page.regions()
    assert [entry["frame"] for entry in region["entries"]] == [0, 12]
    assert region["entries"][0]["box"] == pytest.approx(first, abs=1)
    between = page.script("return shownAt(record.regions[0], 6)")
    assert not between["key"] and between["entry"]["box"] == pytest.approx(
        [(one + other) / 2 for one, other in zip(first, last)], abs=1
    )

    # A point and a polygon beside it; then the box is moved on a frame between: a key frame more.
    page.press("\ue012" * 6)
    page.press("v")
    middle = [(first[at] + first[at + 2] + last[at] + last[at + 2]) / 4 for at in (0, 1)]
    page.drag(middle, (middle[0] + 2, middle[1]))
    wait(lambda: len(journal(served)) == 3)
    assert [entry["frame"] for entry in page.regions()[0]["entries"]] == [0, 6, 12]
    page.press("o")
    page.drag((140, 110), (140, 110))
    wait(lambda: len(journal(served)) == 4)
    page.script("document.querySelector('#regions input').value = 'ball'")
    page.script("document.querySelector('#regions input').onchange()")
    page.type("question", "Does <obj_1> reach <obj_2>?")
    page.type("answer", "No.")
    wait(lambda: journal(served)[-1]["answer"] == "No.")

    # What the model gets.
    page.script("document.getElementById('show').click()")
    wait(lambda: page.script("return document.querySelectorAll('#pictures img').length") == 16)
    assert page.text("said") == "<video>Does <obj_1> reach <obj_2>?"
    page.script("document.querySelector('main').scrollTop = 0")
    page.picture("annotate_mark.png")

    # The server is killed, and nothing is lost.
    drawn = page.regions()
    served.kill()
    page.press("n")
    wait(lambda: "the server does not answer" in page.text("state"))
    served.start()
    page.open("ann")
    assert page.regions() == drawn
    assert page.script("return document.getElementById('answer').value") == "No."

    # Two annotators disagree, and a third settles it.
    page.press("a")
    wait(lambda: journal(served)[-1]["verdict"] == "accept")
    page.open("bob")
    assert page.regions() == []  # independent: the record as it came
    page.press("r")
    assert "a rejection needs a reason" in page.text("state")
    page.type("reason", "ambiguous question")
    page.press("r")
    wait(lambda: (journal(served)[-1]["by"], journal(served)[-1]["verdict"]) == ("bob", "reject"))
    wait(lambda: page.script("return document.querySelector('nav .tag').textContent") == "disputed")
    wait(lambda: "ann: accept" in page.text("others"))
    page.open("ann")
    page.script("document.getElementById('settle').click()")
    wait(lambda: "bob: reject, ambiguous question" in page.text("others"))
    assert "ann / bob" in page.text("agreement")
    page.picture("annotate_verify.png")
    page.press("a")
    wait(lambda: journal(served)[-1]["final"])
    wait(lambda: page.script("return document.querySelector('nav .tag').textContent") == "accept")

    # The accepted record is a dataset.
    page.script("document.getElementById('export').click()")
    wait(lambda: "1 records" in page.text("state"))
    folder = served.records.parent
    (record,) = [json.loads(line) for line in (folder / "mine_verified.jsonl").read_text().splitlines()]
    assert record["messages"][0]["content"] == "<video>Does <obj_1> reach <obj_2>?"
    assert len(json.loads(record["regions"])[0]["track"]) == 13  # filled between the key frames
    recipe = assets.recipe(
        tmp_path / "run", dataset="mine_verified", dataset_dir=str(folder), media_dir=str(folder),
        template="rgpt4d_qwen2_vl",
    )  # fmt: skip
    train_here(recipe)
    state = json.loads((tmp_path / "run/trainer_state.json").read_text())
    assert state["global_step"] == 2


def test_two_pages_at_once(driver, served):
    """The same annotator in two tabs: what one saves after the other holds the work of both."""
    page = Browser(driver, served.url)
    page.open("ann")
    first = driver.current_window_handle
    driver.switch_to.new_window("tab")
    page.open("ann")
    page.drag((20, 20), (60, 70))
    wait(lambda: len(journal(served)) == 1)
    driver.close()
    driver.switch_to.window(first)
    page.drag((90, 30), (120, 60))
    wait(lambda: len(journal(served)) == 2)
    wait(lambda: "another page had changed this record" in page.text("state"))
    boxes = sorted(region["entries"][0]["box"][0] for region in page.regions())
    assert boxes == pytest.approx([20, 90], abs=1)
