"""Counting by map and reduce is counting; and the plan of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.wordcount.counting import batches, count_files, do_work, merge, pack, split, unpack
from examples.wordcount.plan import Plan, Split, final_parts, list_files, make_plan, outstanding
from runtime.errors import KaonError

counts = st.dictionaries(st.text(min_size=1), st.integers(min_value=1, max_value=1 << 40))


@given(counts, st.integers(min_value=1, max_value=5))
def test_parts_add_up_to_the_whole(whole: dict[str, int], partitions: int) -> None:
    parts = split(whole, partitions)
    assert merge(unpack(pack(part)) for part in parts) == Counter(whole)
    assert sum(map(len, parts)) == len(whole), "each word is in one part"


@given(st.lists(st.binary(max_size=30), min_size=2), st.integers(min_value=1, max_value=60))
def test_batches_keep_order_and_leave_fewer(blobs: list[bytes], limit: int) -> None:
    groups = batches(blobs, limit)
    assert [blob for group in groups for blob in group] == blobs
    assert len(groups) < len(blobs)
    assert all(len(group) >= 2 for group in groups[:-1])
    assert all(len(group) == 2 or sum(map(len, group)) <= limit for group in groups if len(group) > 1)


def test_words_are_letters_of_any_script_in_lower_case(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("Kaon, kaon_2 Straße\n日本 it's".encode() + b"\xff end")
    assert count_files([str(tmp_path / "a.txt")]) == {"kaon": 2, "straße": 1, "日本": 1, "it": 1, "s": 1, "end": 1}


def texts(directory: Path, count: int) -> Path:
    for number in range(count):
        (directory / f"{number}.txt").write_text("a " * number + f"word{'x' * number} the the\n")
    return directory


def run_here(plan: Plan) -> dict[str, bytes]:
    """Do all the work in this process."""
    results: dict[str, bytes] = {}
    while items := outstanding(plan, results):
        for item in items:
            assert item.key not in results
            results[item.key] = do_work(msgspec.msgpack.encode(item.work))
    return results


@pytest.mark.parametrize("places", [(), ("a", "b", "c")])
@pytest.mark.parametrize("split_bytes", [1, 60, 10_000_000])
def test_the_plan_leads_to_the_count_of_a_single_process(
    tmp_path: Path, places: tuple[str, ...], split_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("examples.wordcount.plan.REDUCE_BYTES", 100)
    files = list_files(texts(tmp_path, 23))
    plan = make_plan(files, places, split_bytes, partitions=3)
    assert sorted(plan.paths) == [path for path, _ in files]
    parts = final_parts(plan, run_here(plan))
    assert merge(map(unpack, parts)) == count_files(plan.paths)


def test_files_are_spread_over_places_by_size() -> None:
    files = [(f"/{number}", 100 - number) for number in range(40)]
    plan = make_plan(files, ("a", "b"), 1000, 2)
    loads: Counter[str] = Counter()
    for part in plan.splits:
        loads[part.place] += part.size_bytes
    assert abs(loads["a"] - loads["b"]) <= 100
    assert all(part.size_bytes < 1100 for part in plan.splits)


def test_reduces_begin_when_all_maps_are_done() -> None:
    plan = Plan(splits=(Split(paths=("a",)), Split(paths=("b",))), partitions=2)
    assert [item.key for item in outstanding(plan, {})] == ["map-0", "map-1"]
    mapped = msgspec.msgpack.encode([pack({"a": 1}), pack({})])
    assert [item.key for item in outstanding(plan, {"map-0": mapped})] == ["map-1"]
    results = {"map-0": mapped, "map-1": mapped}
    assert [item.key for item in outstanding(plan, results)] == ["reduce-0-0-0", "reduce-1-0-0"]


def test_what_is_no_text_of_the_users_is_left_out(tmp_path: Path) -> None:
    for name in ("a.txt", "sub/b.py", "sub/c.bin", "tests/d.py", "__pycache__/e.py", "LICENSE", "empty.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("" if name.startswith("empty") else "x")
    names = [str(Path(path).relative_to(tmp_path)) for path, _ in list_files(tmp_path)]
    assert names == ["LICENSE", "a.txt", "sub/b.py"]


def test_a_directory_without_texts_is_named(tmp_path: Path) -> None:
    with pytest.raises(KaonError, match=f"no text files .* under {tmp_path}: name a directory"):
        list_files(tmp_path)


def test_a_file_that_is_gone_is_an_error(tmp_path: Path) -> None:
    plan = make_plan([(str(tmp_path / "gone.txt"), 1)], (), 1, 1)
    (item,) = outstanding(plan, {})
    with pytest.raises(FileNotFoundError):
        do_work(msgspec.msgpack.encode(item.work))
