"""Names, schedules and sources of snapshots: the pure part."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from backends.errors import InvalidName, InvalidOptions
from backends.memory import MemoryOptions
from backends.options import describe, parse, to_strings
from backends.snapshots import (
    Every,
    Schedule,
    Snapshot,
    Source,
    name_by_hand,
    scheduled_by,
    snapshot_name,
)

NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)


def _taken(schedule: Schedule, hours: int) -> list[Snapshot]:
    """What is there after so many hours, when nothing is removed."""
    there: list[Snapshot] = []
    for hour in range(hours):
        for name in schedule.due(there, NOW + timedelta(hours=hour)):
            there.append(Snapshot(name, ""))
    return there


def test_what_a_schedule_says_is_what_is_shown() -> None:
    raw = {"snapshots": "hourly:24, daily:7,monthly:12", "from": "db@before-upgrade"}
    options = parse(MemoryOptions, raw, subject="x")
    shown = to_strings(options)
    assert shown["snapshots"] == "hourly:24,daily:7,monthly:12"
    assert shown["from"] == "db@before-upgrade"
    assert parse(MemoryOptions, shown, subject="x") == options


@pytest.mark.parametrize(
    "text",
    ["", "hourly", "hourly:0", "hourly:-1", "often:3", "hourly:1,hourly:2", "hourly:1,", "daily:x"],
)
def test_a_schedule_that_is_none(text: str) -> None:
    with pytest.raises(InvalidOptions, match="snapshots="):
        parse(MemoryOptions, {"snapshots": text}, subject="x")


@pytest.mark.parametrize("text", ["", "@", "db@", "@one", "db@../x", "../x", "db@a@b", "a b"])
def test_a_source_that_is_none(text: str) -> None:
    with pytest.raises(InvalidOptions, match="from="):
        parse(MemoryOptions, {"from": text}, subject="x")


def test_help_shows_how_they_are_written() -> None:
    values = {row.name: row.values for row in describe(MemoryOptions)}
    assert values["from"] == "VOLUME[@SNAPSHOT]"
    assert values["snapshots"] == "hourly:24,daily:7"


def test_each_rule_is_due_once_a_period() -> None:
    schedule = Schedule.parse("hourly:2,daily:1")
    assert schedule.due([], NOW) == ["hourly-20260203T04Z", "daily-20260203Z"]
    there = [Snapshot("hourly-20260203T04Z", ""), Snapshot("daily-20260203Z", "")]
    assert schedule.due(there, NOW + timedelta(minutes=54)) == []
    assert schedule.due(there, NOW + timedelta(minutes=55)) == ["hourly-20260203T05Z"]


def test_periods_are_those_of_utc() -> None:
    east = NOW.astimezone(timezone(timedelta(hours=9, minutes=30)))
    for every in Every:
        assert every.snapshot(east) == every.snapshot(NOW)


def test_a_clock_that_went_back_takes_nothing_again() -> None:
    schedule = Schedule.parse("hourly:2")
    there = [Snapshot("hourly-20260203T04Z", "")]
    assert schedule.due(there, NOW - timedelta(days=2)) == []


def test_names_grow_with_time_over_years() -> None:
    for every in Every:
        names = [every.snapshot(NOW + timedelta(hours=6 * step)) for step in range(4 * 800)]
        assert names == sorted(names)
        assert {scheduled_by(name) for name in names} == {every}


def test_so_many_are_kept_and_those_by_hand_for_ever() -> None:
    schedule = Schedule.parse("hourly:3,daily:2")
    by_hand = [Snapshot("before-upgrade", ""), Snapshot("hourly", ""), Snapshot("daily-x", "")]
    there = _taken(schedule, 24 * 5) + by_hand
    expired = schedule.expired(there)
    left = {one.name for one in there} - set(expired)
    assert sorted(left) == [
        "before-upgrade",
        "daily-20260207Z",
        "daily-20260208Z",
        "daily-x",
        "hourly",
        "hourly-20260208T01Z",
        "hourly-20260208T02Z",
        "hourly-20260208T03Z",
    ]
    assert schedule.expired([one for one in there if one.name in left]) == []


def test_a_rule_that_was_dropped_keeps_nothing() -> None:
    there = _taken(Schedule.parse("hourly:3,weekly:2"), 3)
    assert Schedule.parse("hourly:3").expired(there) == ["weekly-2026W06Z"]


@pytest.mark.parametrize("name", ["", "a b", "../x", "a/b", "@x", "x" * 65, ".x", "ä", None])
def test_names_that_are_not_allowed(name: object) -> None:
    with pytest.raises(InvalidName):
        snapshot_name(name)


def test_nobody_takes_a_name_of_the_schedule() -> None:
    for every in Every:
        with pytest.raises(InvalidName, match="belongs to the schedule"):
            name_by_hand(every.snapshot(NOW))
    for name in ("hourly", "daily-", "before-daily-20260203Z", "hourly-20260203T04Z-mine"):
        assert name_by_hand(name) == name


def test_a_source_is_written_as_it_is_read() -> None:
    assert str(Source.parse("db")) == "db"
    assert Source.parse("db@one") == Source("db", "one")
