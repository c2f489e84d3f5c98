"""What each step makes of values, and what it leaves and counts."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tests.unit.transform.kit import AT, change, one, program_of, seen_by

RATES = {"EUR": 1.1, "JPY": 0.0067, "KWD": 3.25, "IDR": 0.0000625}
SALT = "pepper-and-salt"


@pytest.mark.parametrize(
    ("to", "value", "expected"),
    [
        ("int", "42", 42),
        ("int", "-7", -7),
        ("int", 5.0, 5),
        ("int", True, 1),
        ("int", "18446744073709551615", 2**64 - 1),
        ("int", "-9223372036854775808", -(2**63)),
        ("int", " 5 ", 5),
        ("int", "+5", 5),
        ("int", "007", 7),
        ("int", 1e3, 1000),
        ("int", 2**64, 2**64),  # it is whole already
        ("float", "1.5", 1.5),
        ("float", " 1e3 ", 1000.0),
        ("float", 3, 3.0),
        ("string", 5, "5"),
        ("string", 1.5, "1.5"),
        ("string", True, "true"),
        ("string", [1, "a"], '[1,"a"]'),
        ("string", 10**30, str(10**30)),
        ("bool", "Yes", True),
        ("bool", "0", False),
        ("bool", 1, True),
        ("time", "2023-11-14T22:13:20Z", AT),
    ],
)
def test_convert(to: str, value: Any, expected: Any) -> None:
    event, failures = one({"do": "convert", "fields": ["v"], "to": to}, {"v": value, "w": "5"})
    assert event == {"v": expected, "w": "5"}
    assert type(event["v"]) is type(expected)
    assert failures == []


@pytest.mark.parametrize(
    ("to", "value"),
    [
        ("int", "12x"),
        ("int", ""),
        ("int", 1.5),
        ("int", "1.0"),
        ("int", "1e3"),
        ("int", "0x10"),
        ("int", "1_000"),
        ("int", "1 000"),
        ("int", " "),
        ("int", "18446744073709551616"),
        ("int", "-9223372036854775809"),
        ("int", "9" * 5_000),
        ("int", 1e30),
        ("int", 10**30 + 0.5),
        ("int", [1]),
        ("int", {"a": 1}),
        ("float", "nan"),
        ("float", "1_0"),
        ("float", 10**400),
        ("bool", 2),
        ("bool", "maybe"),
        ("time", "yesterday"),
        ("time", True),
        ("string", {"a": 1}),
    ],
)
def test_what_cannot_be_converted_stays_or_goes(to: str, value: Any) -> None:
    step = {"do": "convert", "fields": ["v"], "to": to}
    assert one(step, {"v": value}) == ({"v": value}, ["convert_failed"])
    assert one({**step, "on_error": "drop"}, {"v": value}) == ({}, ["convert_failed"])


def test_convert_leaves_nulls_and_absent_fields() -> None:
    out, failures = change(
        program_of({"do": "convert", "fields": ["a.v"], "to": "int"}), {"a": {"v": None}}, {}, {"a": 1}
    )
    assert out == [{"a": {"v": None}}, {}, {"a": 1}]
    assert failures == {}


def test_a_value_is_written_where_it_was_read() -> None:
    """An object under the literal name hides no value inside objects, and is not overwritten."""
    program = program_of({"do": "convert", "fields": ["a.b"], "to": "int"})
    out, failures = change(program, {"a.b": {"x": 1}, "a": {"b": "5"}}, {"a.b": "6", "a": {"b": "5"}})
    assert out == [{"a.b": {"x": 1}, "a": {"b": 5}}, {"a.b": 6, "a": {"b": "5"}}]
    assert failures == {}


def test_times_have_formats_and_zones() -> None:
    step = {"do": "convert", "fields": ["v"], "to": "time", "format": "%d/%m/%Y %H:%M:%S", "zone": "Europe/Berlin"}
    assert one(step, {"v": "14/11/2023 23:13:20"}) == ({"v": AT}, [])
    assert one({"do": "convert", "fields": ["v"], "to": "time", "format": "unix"}, {"v": "1700000000"}) == (
        {"v": AT},
        [],
    )


@pytest.mark.parametrize(
    ("amount", "currency", "unit", "expected"),
    [
        (1000, "EUR", "minor", 1100),
        (1000, "eur", "minor", 1100),
        (10, "EUR", "major", 1100),
        (19.99, "USD", "major", 1999),
        (1000, "JPY", "minor", 670),
        (1000, "JPY", "major", 670),
        (1000, "KWD", "minor", 325),
        (-5, "EUR", "minor", -6),
        (5, "EUR", "minor", 6),
        (1, "IDR", "minor", 0),
        (2**62, "USD", "minor", 2**62),
        (10**18 + 1, "USD", "minor", 10**18 + 1),
    ],
)
def test_money(amount: Any, currency: str, unit: str, expected: int) -> None:
    step = {"do": "money", "field": "pay.amount", "rates": RATES, "unit": unit}
    event, failures = one(step, {"pay": {"amount": amount}, "currency": currency})
    assert event == {"pay": {"amount": amount, "amount_usd": expected}, "currency": currency}
    assert failures == []


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ({"amount": 5, "currency": "XXX"}, "money_unknown_currency"),
        ({"amount": 5, "currency": 7}, "money_unknown_currency"),
        ({"amount": 5, "currency": ""}, "money_no_currency"),
        ({"amount": 5, "currency": None}, "money_no_currency"),
        ({"amount": 0}, "money_no_currency"),
        ({"amount": "5", "currency": "EUR"}, "money_not_a_number"),
        ({"amount": True, "currency": "EUR"}, "money_not_a_number"),
        ({"amount": 10**40, "currency": "EUR"}, "money_too_large"),
        ({"amount": 2**63 - 1, "currency": "EUR"}, "money_too_large"),
    ],
)
def test_money_is_never_guessed(event: dict[str, Any], reason: str) -> None:
    program = program_of({"do": "money", "field": "amount", "rates": RATES}, mark="_failed")
    out, failures = change(program, event, {"amount": 1, "currency": "USD"})
    assert out == [{**event, "_failed": [reason]}, {"amount": 1, "currency": "USD", "amount_usd": 1}]
    assert failures == {reason: 1}


def test_unknown_currencies_are_shown() -> None:
    program = program_of({"do": "money", "field": "amount", "rates": RATES})
    change(program, {"amount": 1, "currency": "ZZZ"}, {"amount": 1, "currency": "AAA"}, {"currency": "QQQ"})
    assert program.status() == {"unknown_currencies": ["AAA", "ZZZ"]}


@pytest.mark.parametrize(
    ("value", "label", "failures"),
    [
        (0, "0-10", []),
        (9.99, "0-10", []),
        (10, "10-20.5", []),
        (20.5, None, ["range_outside"]),
        (-1, None, ["range_outside"]),
        (10**30, None, ["range_outside"]),
        ("5", None, ["range_not_a_number"]),
        (True, None, ["range_not_a_number"]),
        (None, None, []),
    ],
)
def test_range(value: Any, label: str | None, failures: list[str]) -> None:
    event, failed = one({"do": "range", "field": "lv", "bounds": [0, 10, 20.5]}, {"lv": value})
    assert event == {"lv": value, **({"lv_rg": label} if label else {})}
    assert failed == failures


def test_normalise() -> None:
    step = {"do": "normalise", "field": "msg", "rules": ["digits", {"pattern": "batch=[a-z]+", "replace": "batch=?"}]}
    out, failures = change(program_of(step), {"msg": "user 47 batch=abc"}, {"msg": 5}, {})
    assert out == [{"msg": "user 47 batch=abc", "msg_norm": "user ? batch=?"}, {"msg": 5}, {}]
    assert failures == {"normalise_not_a_text": 1}


@pytest.mark.parametrize(
    ("step", "failure"),
    [
        ({"do": "range", "bounds": [0, 10]}, "range_not_a_number"),
        ({"do": "money", "rates": RATES}, "money_not_a_number"),
        ({"do": "normalise"}, "normalise_not_a_text"),
        ({"do": "user_agent"}, "user_agent_not_a_text"),
    ],
)
def test_an_object_is_told_as_other_values_of_a_wrong_kind_are(step: dict[str, Any], failure: str) -> None:
    for events in ([{"v": {"x": 1}}], [{"v": {"x": 1}}, {"v": None}, {}, {"w": {"v": 1}}]):
        out, failures = change(program_of({**step, "field": "v"}), *events)
        assert out == events
        assert failures == {failure: 1}


def test_hash_is_keyed_and_stable() -> None:
    step = {"do": "hash", "fields": ["u"], "salt": SALT}
    (ann, again, bob), _ = change(program_of(step), {"u": "ann"}, {"u": "ann"}, {"u": "bob"})
    assert ann == again != bob
    assert len(ann["u"]) == 32
    assert one({**step, "salt": "another-salt"}, {"u": "ann"})[0] != ann
    assert len(one({**step, "digits": 8}, {"u": "ann"})[0]["u"]) == 8


def test_the_hash_of_a_number_is_that_of_its_digits() -> None:
    step = {"do": "hash", "fields": ["u"], "salt": SALT}
    same = [7, 7.0, "7"]
    others = ["7.0", "07", " 7", 7.5, "7.5.0", -7, True, [7], {"id": 7}]
    events, _ = change(program_of(step), *({"u": value} for value in same + others))
    hashes = [event["u"] for event in events]
    assert len(set(hashes[: len(same)])) == 1
    assert len(set(hashes)) == 1 + len(others)
    for number in (2**53, 10**16, -(10**16), 2**70, 0):  # from 1e16 on JSON may write a float with an exponent
        (exact, as_float), _ = change(program_of(step), {"u": number}, {"u": float(number)})
        assert exact == as_float
    (negative,), _ = change(program_of(step), {"u": -0.0})
    assert negative == exact


@pytest.mark.parametrize("do", ["hash", "mask"])
@pytest.mark.parametrize("value", ["ann", 4711, 1.5, True, ["ann"], {"first": "ann"}, "", 10**30])
def test_nothing_personal_slips_through(do: str, value: Any) -> None:
    step = {"do": do, "fields": ["p.q"], **({"salt": SALT} if do == "hash" else {})}
    out, failures = change(program_of(step), {"p": {"q": value, "r": 1}, "p.q": value}, {"p": {"q": None}})
    assert [type(out[0][key]) for key in ("p.q",)] == [type(out[0]["p"]["q"])] == [str]
    assert out[0]["p.q"] == out[0]["p"]["q"] not in (value, str(value))
    assert out[0]["p"]["r"] == 1
    assert out[1] == {"p": {"q": None}}
    assert failures == {}


@pytest.mark.parametrize(
    ("options", "value", "expected"),
    [
        ({}, "0171 123456", "***"),
        ({"last": 2}, "0171 123456", "***56"),
        ({"first": 4, "by": "x"}, "0171 123456", "0171x"),
        ({"first": 2, "last": 2}, "abcd", "***"),
        ({"first": 2, "last": 2}, "abcde", "ab***de"),
        ({"last": 2}, 123456, "***56"),
        ({"first": 3}, ["0171 123456"], "***"),
        ({"first": 3}, {"no": "0171 123456"}, "***"),
        ({"first": 3}, True, "***"),
        ({"kind": "email"}, "bob.x@mail.example.com", "b***@mail.example.com"),
        ({"kind": "email"}, "@mail", "***"),
        ({"kind": "email"}, "nobody", "***"),
        ({"kind": "ip"}, "155.208.3.77", "155.208.3.0"),
        ({"kind": "ip"}, "2001:db8:1:2:3::4", "2001:db8:1::"),
        ({"kind": "ip"}, "fe80::1%eth0", "fe80::"),
        ({"kind": "ip"}, "300.1.1.1", "***"),
    ],
)
def test_mask(options: dict[str, Any], value: Any, expected: str) -> None:
    assert one({"do": "mask", "fields": ["v"], **options}, {"v": value}) == ({"v": expected}, [])


def test_user_agent() -> None:
    chrome = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537"
    step = {"do": "user_agent", "field": "agent", "into": "ua"}
    out, failures = change(
        program_of(step), {"agent": chrome}, {"agent": "x"}, {"agent": 5}, {"agent": "y" * 5_000}, {}
    )
    assert out[0] == {"agent": chrome, "ua_browser": "Chrome", "ua_version": "120", "ua_os": "Windows"}
    assert out[1:] == [{"agent": "x"}, {"agent": 5}, {"agent": "y" * 5_000}, {}]
    assert failures == {"user_agent_unknown": 1, "user_agent_not_a_text": 2}


def test_rename_moves_whatever_it_is() -> None:
    program = program_of({"do": "rename", "fields": {"a": "b.c", "x.y": "z", "k.l": "k.m"}})
    out, failures = change(
        program,
        {"a": {"deep": [1, None]}, "x": {"y": None, "q": 1}},
        {"a": 1, "b": {"c": 2}},
        {"a": 1, "b": "plain"},
        {"x.y": 1, "x": {"y": 2}, "k": {"l": 12345678901234567890123}},
    )
    assert out == [
        {"b": {"c": {"deep": [1, None]}}, "z": None, "x": {"q": 1}},
        {"a": 1, "b": {"c": 2}},
        {"a": 1, "b": "plain"},
        {"z": 1, "x": {"y": 2}, "k": {"m": 12345678901234567890123}},
    ]
    assert failures == {"rename_name_taken": 1, "rename_no_place": 1}


def test_drop_takes_literal_and_nested() -> None:
    program = program_of({"do": "drop", "fields": ["a.b", "c"]})
    out, _ = change(program, {"a.b": 1, "a": {"b": 2, "k": 3}, "c": {"d": 1}}, {"a": 5}, {})
    assert out == [{"a": {"k": 3}}, {"a": 5}, {}]


def test_keep_takes_out_all_others() -> None:
    program = program_of({"do": "keep", "fields": ["a.b", "c", "a.x.y"]})
    event = {"_host": "h", "a": {"b": 1, "k": 2, "x": {"y": None, "z": 1}}, "c": {"d": 1}, "e": 1, "a.b": 3}
    out, _ = change(program, event, {"a": 1, "e": 2})
    assert out == [{"_host": "h", "c": {"d": 1}, "a.b": 3, "a": {"b": 1, "x": {"y": None}}}, {}]


def test_set() -> None:
    assert one({"do": "set", "values": {"a.b": 1, "c": "x"}}, {"a": {"d": 2}, "c": 5}) == (
        {"a": {"d": 2, "b": 1}, "c": "x"},
        [],
    )
    program = program_of({"do": "set", "values": {"c": "x"}, "replace": False})
    assert change(program, {"c": 5}, {"c": {"d": 1}}, {"c": None}, {})[0] == [
        {"c": 5},
        {"c": {"d": 1}},
        {"c": "x"},
        {"c": "x"},
    ]
    assert one({"do": "set", "values": {"a.b": 1}}, {"a": [1]}) == ({"a": [1]}, ["set_no_place"])


def test_where_is_about_the_event_as_it_came() -> None:
    program = program_of(
        {"do": "set", "values": {"kind": "big"}, "where": "n > 5"},
        {"do": "drop", "fields": ["n"], "where": "kind == 'small'"},
        {"do": "range", "field": "n", "bounds": [0, 7], "where": "n < 9"},
    )
    out, failures = change(program, {"n": 6, "kind": "small"}, {"n": 9}, {"n": 1}, {"n": 8})
    assert out == [{"kind": "big"}, {"n": 9, "kind": "big"}, {"n": 1, "n_rg": "0-7"}, {"n": 8, "kind": "big"}]
    assert failures == {"range_outside": 1}


def test_steps_see_what_those_before_them_left() -> None:
    program = program_of(
        {"do": "convert", "fields": ["lv"], "to": "int"},
        {"do": "rename", "fields": {"lv": "user.level"}},
        {"do": "range", "field": "user.level", "bounds": [0, 10]},
        {"do": "range", "field": "n", "bounds": [0, 10], "into": "label"},
        {"do": "normalise", "field": "label", "rules": ["digits"]},
    )
    out, failures = change(program, {"lv": "7", "n": 3})
    assert out == [{"n": 3, "user": {"level": 7, "level_rg": "0-10"}, "label": "0-10", "label_norm": "?-?"}]
    assert failures == {}


def test_what_a_step_wrote_is_read_by_later_ones_before_anything_is_decoded() -> None:
    program = program_of(
        {"do": "set", "values": {"fresh": "a 1"}, "where": "n == 1"},
        {"do": "normalise", "field": "fresh", "rules": ["digits"]},
    )
    assert change(program, {"n": 1}, {"n": 2})[0] == [{"n": 1, "fresh": "a 1", "fresh_norm": "a ?"}, {"n": 2}]


def test_a_field_that_is_there_is_replaced_not_doubled() -> None:
    program = program_of({"do": "range", "field": "n", "bounds": [0, 9]})
    lines = [f'{{"@timestamp":{AT},"n":1,"n_rg":"old"}}', f'{{"@timestamp":{AT},"n":1,"\\u006e_rg":"old"}}']
    for line in lines:
        out = program.run(seen_by(program, [line])).body()
        assert out == b'{"@timestamp":%d,"n":1,"n_rg":"0-9"}\n' % AT


DEEP = "[" * 90 + "]" * 90


@pytest.mark.parametrize(
    "value", ["1e400", "-1e400", "9" * 400, DEEP, '"\\u0000\\ud83d\\ude00"', "[1e400]", '{"v":1e400}']
)
def test_odd_values_go_through_as_they_are(value: str) -> None:
    """What steps cannot read is counted; it never fails a pack, and its bytes stay."""
    line = f'{{"@timestamp":{AT},"v":{value},"o":{{"v":{value},"w":1}}}}'
    program = program_of(
        {"do": "convert", "fields": ["v", "o.v"], "to": "int"},
        {"do": "range", "field": "o.v", "bounds": [0, 1]},
        {"do": "normalise", "field": "v", "into": "norm"},
        {"do": "money", "field": "v", "currency": "o.v", "rates": RATES},
        {"do": "drop", "fields": ["o.w"]},
    )
    sheet = program.run(seen_by(program, [line]))
    assert f'"v":{value}'.encode() in sheet.body()
    assert f'"o":{{"v":{value}}}'.encode() in sheet.body()
    assert sheet.failures["convert_failed"] == 2 or value.isdigit()


@pytest.mark.parametrize("do", ["hash", "mask"])
@pytest.mark.parametrize("value", ["1e400", DEEP, "[1e400]", '{"v":1e400}'])
def test_odd_values_are_hidden_too(do: str, value: str) -> None:
    program = program_of({"do": do, "fields": ["v"], **({"salt": SALT} if do == "hash" else {})})
    body = program.run(seen_by(program, [f'{{"@timestamp":{AT},"v":{value}}}'])).body()
    assert value.encode() not in body


@pytest.mark.parametrize(
    "step",
    [
        {"do": "convert", "fields": [], "to": "int"},
        {"do": "convert", "fields": ["@timestamp"], "to": "int"},
        {"do": "convert", "fields": ["a"], "to": "int", "zone": "UTC"},
        {"do": "convert", "fields": ["a"], "to": "time", "zone": "Nowhere/No"},
        {"do": "money", "field": "a"},
        {"do": "money", "field": "a", "rates": {"eur": 1}},
        {"do": "money", "field": "a", "rates": {"EUR": 0}},
        {"do": "money", "field": "a", "rates": {"USD": 2}},
        {"do": "money", "field": "a", "rates": RATES, "currency": "a"},
        {"do": "range", "field": "a", "bounds": [5]},
        {"do": "range", "field": "a", "bounds": [5, 5]},
        {"do": "range", "field": "a", "bounds": [0, float("nan")]},
        {"do": "normalise", "field": "a", "rules": [{"pattern": "("}]},
        {"do": "hash", "fields": ["a"]},
        {"do": "hash", "fields": ["a"], "salt": "short"},
        {"do": "hash", "fields": ["a"], "salt": SALT, "digits": 9},
        {"do": "mask", "fields": ["a"], "kind": "ip", "first": 2},
        {"do": "rename", "fields": {"a": "@timestamp"}},
        {"do": "drop", "fields": ["a..b"]},
        {"do": "set", "values": {}},
        {"do": "set", "values": {"a": 1}, "where": "a ==="},
    ],
)
def test_what_a_step_refuses(step: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        program_of(step)
