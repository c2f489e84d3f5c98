"""Reading archives: every packing, from every place on; and the plan of files."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
import zstandard

from dpiped.archive import DamagedFileError, Lines, Plan, Reader, Spot
from dpiped.archive import reader as reader_module
from dpiped.archive.disk import Disk
from dpiped.errors import DpipeError

LINES = b"".join(b"line %d %s\n" % (n, b"x" * (n % 97)) for n in range(2_000))
PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "members": lambda data: gzip.compress(data[:999]) + gzip.compress(b"") + gzip.compress(data[999:]) + b"\0" * 512,
    "zstd": zstandard.compress,
    "frames": lambda data: zstandard.compress(data[:999]) + zstandard.compress(data[999:]),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "twice": lambda data: gzip.compress(bz2.compress(data)),
    "gzip with all that a head may have": lambda data: with_head(gzip.compress(data)),
    "zstd behind a frame to skip": lambda data: b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zstandard.compress(data),
}


def with_head(packed: bytes) -> bytes:
    """With an extra field, a name, a comment and the checksum of the head (RFC 1952)."""
    head = packed[:3] + bytes([2 | 4 | 8 | 16]) + packed[4:10] + b"\x03\0abc" + b"name\0" + b"comment\0"
    return head + (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little") + packed[10:]


def tarred(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "LINES_BYTES", 10_000)


def reader(file: Path, spot: Spot | None = None, most: int = 1 << 20) -> Reader:
    return Reader(Disk([], []), str(file), spot or Spot(file.stat().st_size), most)


@pytest.mark.parametrize("packing", PACKINGS)
def test_every_packing_is_read_from_every_place_on(packing: str, tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    file.write_bytes(PACKINGS[packing](LINES))
    pieces = list(reader(file).lines())
    assert b"".join(piece.data for piece in pieces) == LINES
    assert len(pieces) > 3
    for number, piece in enumerate(pieces):
        rest = reader(file, piece.spot).lines()
        assert b"".join(one.data for one in rest) == b"".join(one.data for one in pieces[number + 1 :])


@pytest.mark.parametrize("packing", PACKINGS)
def test_members_of_a_tar_file(packing: str, tmp_path: Path) -> None:
    file = tmp_path / "a.tar"
    file.write_bytes(PACKINGS[packing](tarred({"one": LINES, "two.gz": gzip.compress(LINES), "empty": b""})))
    pieces = list(reader(file).lines())
    assert b"".join(piece.data for piece in pieces) == LINES * 2
    assert {piece.source for piece in pieces} == {f"{file}!one", f"{file}!two.gz"}
    for number, piece in enumerate(pieces):
        rest = reader(file, piece.spot).lines()
        assert b"".join(one.data for one in rest) == b"".join(one.data for one in pieces[number + 1 :])


@pytest.mark.parametrize("packing", [name for name in PACKINGS if name != "plain"])
def test_of_a_torn_file_what_can_be_read_is_taken(packing: str, tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    lines = b"".join(b"%d %s\n" % (n, sha256(b"%d" % n).hexdigest().encode()) for n in range(40_000))
    whole = PACKINGS[packing](lines)
    file.write_bytes(whole[: len(whole) * 3 // 4])
    taken = []
    with pytest.raises(DamagedFileError, match=r"cut off|damaged"):
        for piece in reader(file).lines():
            taken.append(piece.data)
    found = b"".join(taken)
    assert lines.startswith(found)
    assert found.endswith(b"\n")
    assert len(found) > 500_000


@pytest.mark.parametrize("packing", ["gzip", "zstd", "twice"])
def test_of_a_small_torn_file_too(packing: str, tmp_path: Path) -> None:
    """The look at its first bytes, whether it is a tar file, meets the damage."""
    file = tmp_path / "a.log"
    file.write_bytes(PACKINGS[packing](b"one\ntwo\nthree\n")[:-4])
    taken = []
    with pytest.raises(DamagedFileError):
        for piece in reader(file).lines():
            taken.append(piece.data)
    assert packing == "zstd" or b"".join(taken) == b"one\ntwo\nthree\n"


def test_damage_in_the_middle_and_a_torn_tar_file(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    packed = bytearray(gzip.compress(LINES * 10, 1))
    packed[len(packed) // 2] ^= 0xFF
    file.write_bytes(packed)
    with pytest.raises(DamagedFileError, match="damaged"):
        list(reader(file).lines())
    file.write_bytes(tarred({"one": LINES})[: len(LINES) // 2])
    with pytest.raises(DamagedFileError, match="damaged"):
        list(reader(file).lines())


def read_until_damage(file: Path, spot: Spot) -> tuple[list[Lines], str]:
    """What comes before the error, and the error."""
    taken: list[Lines] = []
    with pytest.raises(DamagedFileError) as damage:
        for piece in reader(file, spot).lines():
            taken.append(piece)
    return taken, str(damage.value)


@pytest.mark.parametrize("packing", ["plain", "gzip"])
@pytest.mark.parametrize("tear", ["head", "cut"])
@pytest.mark.parametrize("which", [{1}, {0, 1}, {3}, {1, 2, 3}], ids=str)
def test_a_torn_member_hides_none_behind_it(packing: str, tear: str, which: set[int], tmp_path: Path) -> None:
    texts = [b"".join(b"%d %d %d\n" % (m, n, n * n * 7919 % 1_000_003) for n in range(3_000)) for m in range(4)]
    whole = {f"{m}.gz": gzip.compress(text[:20_000]) + gzip.compress(text[20_000:]) for m, text in enumerate(texts)}
    torn = dict(whole)
    for number in which:
        at = len(gzip.compress(texts[number][:20_000]))
        packed = whole[f"{number}.gz"]
        torn[f"{number}.gz"] = packed[: at + 2] + b"\xff" + packed[at + 3 :] if tear == "head" else packed[: at + 2_000]
    file = tmp_path / "a.tar"
    file.write_bytes(PACKINGS[packing](tarred(torn)))
    spot = Spot(1 << 30)
    pieces, why = read_until_damage(file, spot)
    assert f"member {min(which)}.gz: it is" in why
    assert ("more members" in why) == (len(which) > 1)

    def check(pieces: list[Lines], but: set[int]) -> None:
        for number, text in enumerate(texts):
            got = b"".join(one.data for one in pieces if one.source == f"{file}!{number}.gz")
            assert text.startswith(got)
            assert (got == text) == (number not in but)

    check(pieces, which)
    for number, piece in enumerate(pieces):
        stored = msgspec.json.decode(msgspec.json.encode(piece.spot), type=Spot)
        check([*pieces[: number + 1], *read_until_damage(file, stored)[0]], which)
    file.write_bytes(PACKINGS[packing](tarred(whole)))
    for number, piece in enumerate(pieces):
        rest = list(reader(file, piece.spot).lines())
        for at, one in enumerate(rest):
            check([*pieces[: number + 1], *rest[: at + 1], *reader(file, one.spot).lines()], set())


def test_many_torn_members_are_not_all_remembered(tmp_path: Path) -> None:
    file = tmp_path / "a.tar"
    file.write_bytes(tarred({f"{n:03}": gzip.compress(b"1\n")[:-4] if n < 101 else b"2\n" for n in range(150)}))
    pieces, why = read_until_damage(file, Spot(1 << 30))
    assert "cut off" in why
    assert len(pieces) == 101
    file.write_bytes(tarred({f"{n:03}": gzip.compress(b"1\n")[:-4] if n < 100 else b"2\n" for n in range(150)}))
    pieces, why = read_until_damage(file, Spot(1 << 30))
    assert "99 more members" in why
    assert len(pieces) == 150


@pytest.mark.parametrize(
    ("begin", "end", "filling"),
    [(1536, 2048, b"\xff" * 512), (1600, 1 << 20, b""), (2148, 2400, b""), (2560, 3072, b"")],
    ids=["a damaged header", "cut in a header", "a member that lacks some bytes", "a member that lacks a block"],
)
def test_a_tar_file_that_is_damaged_itself_does_not_end_there(
    begin: int, end: int, filling: bytes, tmp_path: Path
) -> None:
    whole = bytearray(tarred({name: b"%s\n" % name.encode() * 400 for name in "abcd"})[512:])  # without the folder
    whole[begin:end] = filling
    file = tmp_path / "a.tar"
    file.write_bytes(whole)
    pieces, why = read_until_damage(file, Spot(1 << 30))
    assert "it is damaged" in why
    assert pieces[0].data == b"a\n" * 400
    assert pieces[-1].spot.torn == {}


def test_of_a_torn_tar_file_what_can_be_read_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "LINES_BYTES", 900_000)
    lines = b"".join(b"%d %s\n" % (n, sha256(b"%d" % n).hexdigest().encode()) for n in range(40_000))
    file = tmp_path / "a.tar"
    packed = gzip.compress(tarred({"a": lines, "b": b"b\n"}))
    file.write_bytes(packed[: len(packed) // 2])
    pieces, _ = read_until_damage(file, Spot(1 << 30))
    found = b"".join(piece.data for piece in pieces)
    assert lines.startswith(found)
    assert len(found) > len(lines) // 2 - 200_000


def test_what_a_file_grows_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    file.write_bytes(LINES)
    spot = Spot(len(LINES))
    with file.open("ab") as out:
        out.write(b"more\n")
    assert b"".join(piece.data for piece in reader(file, spot).lines()) == LINES


def test_a_file_that_shrank_is_told(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    file.write_bytes(b"short\n")
    with pytest.raises(DamagedFileError, match="shorter"):
        list(reader(file, Spot(6, 100)).lines())


@pytest.mark.parametrize("last", [b"", b"\n"])
def test_a_line_that_is_too_long_loses_its_rest(last: bytes, tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    file.write_bytes(b"a\n" + b"x" * 50_000 + b"\nb" + last)
    made = reader(file, most=15_000)
    pieces = list(made.lines())
    lines = b"".join(piece.data for piece in pieces).splitlines()
    assert [line[:1] for line in lines] == [b"a", b"x", b"b"]
    assert len(lines[1]) == 15_000
    assert made.cut == 1
    assert pieces[-1].spot.offset == file.stat().st_size
    for number, piece in enumerate(pieces):
        rest = reader(file, piece.spot, 15_000).lines()
        assert [one.data for one in rest] == [one.data for one in pieces[number + 1 :]]


@pytest.mark.parametrize("last", [b"", b"\n"])
@pytest.mark.parametrize("most", [256, 9_999, 10_000, 10_001, 30_000])
@pytest.mark.parametrize("more", [-1, 0, 1, 2, 15_000])
def test_long_lines_are_cut_exactly(most: int, more: int, last: bytes, tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    long = b"x" * (most + more)
    file.write_bytes(b"\n".join([b"a", long, b"b", b"c" * most, long, b"", long]) + last)
    made = reader(file, most=most)
    pieces = list(made.lines())
    lines = b"".join(piece.data for piece in pieces).splitlines()
    assert lines == [b"a", long[:most], b"b", b"c" * most, long[:most], b"", long[:most]]
    assert made.cut == (3 if more > 0 else 0)
    assert pieces[-1].spot.offset == file.stat().st_size
    for number, piece in enumerate(pieces):
        rest = reader(file, piece.spot, most).lines()
        assert b"".join(one.data for one in rest) == b"".join(one.data for one in pieces[number + 1 :])


def files(count: int) -> list[tuple[str, int]]:
    return [(f"/a/{number:04}", 10) for number in range(count)]


def test_a_plan_goes_on_where_it_was() -> None:
    plan = Plan(files(5), None)
    assert [path for path, _ in plan.left()] == [path for path, _ in files(5)]
    plan.reached("/a/0000", Spot(10, 3))
    plan.finished("/a/0001")
    plan.finished("/a/0002", "torn")
    again = Plan(files(5), plan.text())
    assert dict(again.left()) == {
        "/a/0000": Spot(10, 3),
        "/a/0002": Spot(10),
        "/a/0003": Spot(10),
        "/a/0004": Spot(10),
    }
    for path, _ in list(again.left()):
        again.finished(path)
    assert list(Plan(files(5), again.text()).left()) == []
    assert len(again.text()) < 100


def test_a_spot_of_before_torn_members_were_remembered_is_read() -> None:
    plan = Plan(files(2), '{"version":1,"done":1,"last":"/a/0000","beyond":[],"open":{"/a/0000":[10,5,2]}}')
    assert dict(plan.left())["/a/0000"] == Spot(10, 5, 2)
    plan.reached("/a/0000", Spot(10, 0, 4, {2: 5}))
    assert dict(Plan(files(2), plan.text()).left())["/a/0000"] == Spot(10, 0, 4, {2: 5})


def test_files_that_come_later_are_read_or_told() -> None:
    plan = Plan(files(3), None)
    for path, _ in files(3):
        plan.finished(path)
    again = Plan([*files(4), ("/a/0001b", 1)], plan.text())
    assert [path for path, _ in again.left()] == ["/a/0003"]
    assert again.late == 1


def test_nobody_gets_far_ahead_of_the_first() -> None:
    plan = Plan(files(1_000), None)
    assert not plan.is_ahead("/a/0256")
    assert plan.is_ahead("/a/0257")
    plan.finished("/a/0000")
    assert not plan.is_ahead("/a/0257")


@pytest.mark.parametrize("text", ["", "[]", '{"version":2,"done":0,"last":"","beyond":[],"open":{}}'])
def test_a_position_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(DpipeError, match="archive"):
        Plan([], text)
