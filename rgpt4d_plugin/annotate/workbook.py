# SPDX-License-Identifier: Apache-2.0
"""The records that a page works on, and everything that was said about them.

Records are only read. What annotators draw and decide goes to a journal beside them, NAME.marks.jsonl, one line an
event, on the disk before the page hears of it; the state is what the journal adds up to. So any number of pages and
servers may work on one file.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, Literal

from pydantic import Field

from rgpt4d_plugin.annotate.agreement import kappa
from rgpt4d_plugin.convert.records import VIDEO, exchange
from rgpt4d_plugin.convert.scenes import naming, read_records, step_of
from rgpt4d_plugin.files import only_writer, register, registry_entry, write_whole
from rgpt4d_plugin.journal import Journal
from rgpt4d_plugin.regions.media_entries import parse_clip
from rgpt4d_plugin.regions.region import check_mentions, parse_regions
from rgpt4d_plugin.regions.tracks import entries_of, filled, region_of
from rgpt4d_plugin.validation import Checked, Text, check
from rgpt4d_plugin.video.entries import Clip, span
from rgpt4d_plugin.video.frames import VideoInfo, read_info


Verdict = Literal["accept", "correct", "reject"]


class Drawn(Checked):
    """A region as a page draws it: key frames, with linear interpolation between them."""

    number: Annotated[int, Field(ge=1, lt=10**6)]
    name: str = ""
    entries: Annotated[list[dict[str, Any]], Field(min_length=1)]


class Event(Checked):
    """What an annotator did: saved regions and texts, and perhaps a verdict on them. Journals hold these.

    `version` is the number of events of this annotator and record that the page had seen; `final` ends a disagreement.
    """

    record: Annotated[int, Field(ge=0)]
    by: Text
    version: Annotated[int, Field(ge=0)]
    regions: list[Drawn]
    question: str = ""
    answer: str = ""
    verdict: Verdict | None = None
    reason: str = ""
    final: bool = False
    at: str = ""


@dataclass
class Workbook:
    """A file of records with one video each, and its journal.

    Raises:
        ValueError: The file cannot be used.
    """

    path: Path
    media: Path

    def __post_init__(self) -> None:
        self.records = read_records(self.path)
        self.journal = Journal(self.path.with_suffix(".marks.jsonl"))
        self._events: dict[int, dict[str, list[Event]]] = defaultdict(lambda: defaultdict(list))
        self._read = self._lines = 0  # bytes and lines of the journal that are in _events
        self._reading = Lock()
        if not self.records:
            raise ValueError(f"{self.path} has no records")
        for number in range(len(self.records)):
            self.clip(number)

    def clip(self, number: int) -> Clip:
        """The clip of a record, with the path of its file."""
        try:
            (entry,) = self.records[number].get("videos") or []
            clip = parse_clip(entry, "videos[0]")
        except ValueError as err:
            raise ValueError(f"{self.path}, record {number}: expected one video ({err})") from err
        return Clip(str(self.media / clip.path), clip.start, clip.end)

    def info(self, number: int) -> VideoInfo:
        """The video of a record; VideoError if it cannot be read."""
        return read_info(self.clip(number).path)

    def frames(self, number: int) -> tuple[int, int]:
        """Numbers of the first and the last frame of a record's clip."""
        first, final, _ = span(self.clip(number), self.info(number))
        return first, final

    def events(self) -> dict[int, dict[str, list[Event]]]:
        """All events, by record and annotator, in their order; those that another server has written too."""
        with self._reading:
            found, end = self.journal.after(self._read, self._lines)
            for line, values in enumerate(found, start=self._lines + 1):
                problems: list[str] = []
                event = check(Event, values, "", problems)
                if event is None or event.record >= len(self.records):
                    raise ValueError(f"{self.journal.path}, line {line}: {'; '.join(problems) or 'no such record'}")
                self._events[event.record][event.by].append(event)
            self._read, self._lines = end, self._lines + len(found)
            return {number: {by: list(said) for by, said in names.items()} for number, names in self._events.items()}

    def original(self, number: int) -> Event:
        """A record as it came, as an event of nobody."""
        record, info = self.records[number], self.info(number)
        texts = [str(message.get("content", "")) for message in record.get("messages") or []] + ["", ""]
        regions = [
            Drawn(number=region.number, name=str(region.raw.get("name", "")), entries=entries_of(region, info))
            for region in parse_regions(record.get("regions"), 1, 0)
        ]
        question = texts[0].replace(VIDEO, "").strip()
        return Event(record=number, by="-", version=0, regions=regions, question=question, answer=texts[1])

    def current(self, number: int, by: str) -> Event:
        """What an annotator sees of a record: their own last version, otherwise the record as it came."""
        own = self.events().get(number, {}).get(by, [])
        event = own[-1] if own else self.original(number)
        return event.model_copy(update={"version": len(own)})

    def save(self, values: Mapping[str, Any]) -> Event:
        """Keeps an event; if the annotator has saved the record from another page since, both versions are merged.

        Returns:
            What is now the annotator's version.

        Raises:
            ValueError: It is no event, or regions do not fit the video.
        """
        problems: list[str] = []
        event = check(Event, values, "", problems)
        if event is None or event.record >= len(self.records):
            raise ValueError("; ".join(problems) or f"record: there are {len(self.records)}")
        self._check(event)
        with only_writer(self.path.parent, wait=True):  # between looking and writing
            own = self.events().get(event.record, {}).get(event.by, [])
            if event.version < len(own):
                base = own[event.version - 1] if event.version else self.original(event.record)
                merged = merge(base.regions, event.regions, own[-1].regions)
                # What nobody has seen as a whole, nobody has judged.
                verdict = event.verdict if merged == event.regions else None
                event = event.model_copy(update={"regions": merged, "verdict": verdict})
            now = datetime.now(UTC).isoformat(timespec="seconds")
            event = event.model_copy(update={"version": len(own) + 1, "at": now})
            self.journal.append(event.model_dump())
        return event

    def opinions(self) -> dict[int, dict[str, Event]]:
        """The last verdict of every annotator by record; one that was edited since is none."""
        return {
            number: {by: events[-1] for by, events in by_annotator.items() if events and events[-1].verdict}
            for number, by_annotator in self.events().items()
        }

    def overview(self) -> dict[str, Any]:
        """State of every record, and the agreement of every pair of annotators."""
        opinions = self.opinions()
        names = sorted({by for found in opinions.values() for by in found})
        pairs = []
        for at, one in enumerate(names):
            for other in names[at + 1 :]:
                both = [(o[one].verdict, o[other].verdict) for o in opinions.values() if one in o and other in o]
                pairs.append({"annotators": [one, other], "records": len(both), "kappa": kappa(both)})
        records = [
            {"number": number, "id": str(record.get("id", number)), "status": _status(opinions.get(number, {}))}
            | {"verdicts": {by: event.verdict for by, event in opinions.get(number, {}).items()}}
            for number, record in enumerate(self.records)
        ]
        return {"records": records, "agreement": pairs}

    def export(self, out: Path, name: str) -> int:
        """Writes the records that were accepted or corrected and are not disputed, as a dataset; returns their number.

        Their tracks are interpolated between key frames. `reviewed` says who decided.
        """
        lines = []
        for _, opinions in sorted(self.opinions().items()):
            if _status(opinions) not in ("accept", "correct"):
                continue
            event = _decisive(opinions)
            if event.regions:
                record = self._record(event) | {"reviewed": ", ".join(sorted(opinions))}
                lines.append(json.dumps(record, ensure_ascii=False) + "\n")
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / f"{name}.jsonl", "".join(lines))
        register(out, name, registry_entry(f"{name}.jsonl", "rgpt4d", ("messages", "videos", "regions")))
        return len(lines)

    def regions_of(self, event: Event) -> list[dict[str, Any]]:
        """The regions of an event in the form of records, filled between key frames."""
        step = step_of(self.info(event.record))
        ordered = [(each, sorted(each.entries, key=lambda entry: entry["frame"])) for each in event.regions]
        return [region_of(each.number, each.name, filled([entries], step)) for each, entries in ordered]

    def _record(self, event: Event) -> dict[str, Any]:
        record = self.records[event.record]
        messages = exchange(f"{VIDEO}{event.question}", event.answer) if event.question else naming(event.regions)
        texts = {"id": str(record.get("id", event.record)), "messages": messages}
        return texts | {"videos": record["videos"], "regions": json.dumps(self.regions_of(event), ensure_ascii=False)}

    def _check(self, event: Event) -> None:
        """Raises ValueError unless the regions fit the video, and, for a verdict, the texts fit the regions."""
        regions = parse_regions(self.regions_of(event), 1, 0)
        for region in regions:
            entries_of(region, self.info(event.record))
        if event.verdict in ("accept", "correct"):
            check_mentions([event.question, event.answer], regions)


def merge(base: Sequence[Drawn], mine: Sequence[Drawn], theirs: Sequence[Drawn]) -> list[Drawn]:
    """Merges two versions of what both saw as `base`; of a region that both changed, theirs gets a new number."""
    sides = [{each.number: each for each in side} for side in (base, mine, theirs)]
    before, ours, other = sides
    merged, extra = [], []
    for number in sorted({*before, *ours, *other}):
        was, here, there = before.get(number), ours.get(number), other.get(number)
        if here == was or here == there:
            merged += [there] if there else []
        else:
            merged += [here] if here else []
            if there is not None and there != was:
                extra.append(there)
    free = max((each.number for each in merged), default=0) + 1
    return merged + [each.model_copy(update={"number": free + at}) for at, each in enumerate(extra)]


def of_video(video: Path) -> Path:
    """Returns the file of records of a single video, VIDEO.regions.jsonl, made if it is not there."""
    path = video.with_suffix(".regions.jsonl")
    if not path.exists():
        read_info(str(video))
        record = {"id": video.stem, "messages": [], "videos": [video.name], "regions": "[]"}
        write_whole(path, json.dumps(record, ensure_ascii=False) + "\n")
    return path


def _decisive(opinions: Mapping[str, Event]) -> Event:
    """The event that stands: the last final one, else a correction, else any."""
    finals = [event for event in opinions.values() if event.final]
    corrections = [event for event in opinions.values() if event.verdict == "correct"]
    return max(finals or corrections or list(opinions.values()), key=lambda event: event.at)


def _status(opinions: Mapping[str, Event]) -> str:
    """ "open", "accept", "correct", "reject", or "disputed"."""
    if not opinions:
        return "open"
    said = {_opinion(event) for event in opinions.values()}
    if len(said) > 1 and not any(event.final for event in opinions.values()):
        return "disputed"
    return str(_decisive(opinions).verdict)


def _opinion(event: Event) -> tuple[str | None, str]:
    """What two annotators must share to agree: the verdict, and for a correction what was corrected."""
    corrected = [event.question, event.answer, [each.model_dump() for each in event.regions]]
    return event.verdict, json.dumps(corrected) if event.verdict == "correct" else ""
