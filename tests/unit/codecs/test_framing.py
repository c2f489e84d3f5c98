"""FrameSplitter: framings found per frame, limits, and the way back after a wrong count."""

from __future__ import annotations

from dpiped.codecs.syslog import FrameSplitter


def test_framings_may_change_from_frame_to_frame() -> None:
    splitter = FrameSplitter(100)
    assert splitter.feed(b"8 <1>a\nb c<2>line\r\n<3>nul\0\n5 <4>xy7 <5>xy\r\n<6>") == [
        b"<1>a\nb c", b"<2>line", b"<3>nul", b"<4>xy", b"<5>xy",
    ]  # fmt: skip
    assert splitter.finish() == [b"<6>"]
    assert splitter.finish() == []
    assert (splitter.frames_cut, splitter.resynchronised) == (0, 0)


def test_a_line_that_begins_with_a_number_is_a_line() -> None:
    splitter = FrameSplitter(100)
    assert splitter.feed(b"2024 was a year\n12\n5 ") == [b"2024 was a year", b"12"]
    assert splitter.feed(b"<1>ab") == [b"<1>ab"]


def test_an_unfinished_counted_frame_is_given_at_the_end_without_its_count() -> None:
    splitter = FrameSplitter(100)
    assert splitter.feed(b"50 <1>cut off") == []
    assert splitter.finish() == [b"<1>cut off"]


def test_long_frames_are_cut_and_counted() -> None:
    splitter = FrameSplitter(10)
    assert splitter.feed(b"30 <1>" + b"x" * 27 + b"<2>ok\n") == [b"<1>xxxxxxx", b"<2>ok"]
    assert splitter.feed(b"<3>" + b"y" * 50) == [b"<3>yyyyyyy"]
    assert splitter.feed(b"y" * 5000) == []
    assert splitter.feed(b"y\n<4>ok\n<5>" + b"z" * 20 + b"\n<6>\n") == [b"<4>ok", b"<5>zzzzzzz", b"<6>"]
    assert splitter.frames_cut == 3


def test_a_count_that_is_too_small_is_noticed_and_left_behind() -> None:
    splitter = FrameSplitter(100)
    assert splitter.feed(b"5 <1>abcdef\n<2>next\n5 <3>xy") == [b"<1>ab", b"cdef", b"<2>next", b"<3>xy"]
    assert splitter.resynchronised == 1


def test_an_absurd_count_does_not_swallow_the_connection() -> None:
    splitter = FrameSplitter(100)
    assert splitter.feed(b"999999999 <1>x\n<2>y\n") == [b"999999999 <1>x", b"<2>y"]


def test_the_rest_is_bounded() -> None:
    splitter = FrameSplitter(1000)
    for _ in range(100):
        splitter.feed(b"x" * 900)
    assert splitter.feed(b"\n<1>a\n") == [b"<1>a"]
    assert splitter.frames_cut == 1
