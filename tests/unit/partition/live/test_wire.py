"""Frames: round trips, and a hundred thousand that are not."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import DataError
from trimtab.partition.live.wire import (
    MOST_BODY,
    Frame,
    Head,
    Incoming,
    Kind,
    Part,
    Reader,
    chunks,
    frame,
    head,
    parse_head,
    parse_record,
    record,
)

frames = st.builds(
    Frame,
    st.sampled_from(list(Kind)),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=200),
)


@given(sent=st.lists(frames, max_size=8), cuts=st.lists(st.integers(1, 40)))
def test_frames_come_back_however_they_are_cut(sent, cuts):
    data = b"".join(frame(each.kind, each.request, each.body) for each in sent)
    reader, found, start = Reader(), [], 0
    for size in [*cuts, len(data) + 1]:
        found += reader.feed(data[start : start + size])
        start += size
    assert found == sent
    assert reader.held == 0


parts = st.builds(
    Part,
    st.sampled_from(["raw", "fp16", "bf16", "int8", "int4"]),
    st.floats(allow_nan=False),
    st.floats(allow_nan=False),
    st.integers(0, 2**32 - 1),
)


@given(
    cut=st.integers(0, 2**16 - 1), codec=st.integers(0, 255),
    milliseconds=st.integers(0, 2**32 - 1), seconds=st.floats(allow_nan=False),
    values=st.lists(parts, max_size=5),
)  # fmt: skip
def test_heads_come_back(cut, codec, milliseconds, seconds, values):
    sent = head(
        Kind.REQUEST, 7, cut=cut, codec=codec, milliseconds=milliseconds,
        seconds=seconds, parts=values,
    )  # fmt: skip
    (found,) = Reader().feed(sent)
    assert parse_head(found.body) == Head(
        cut, codec, milliseconds, seconds, tuple(values)
    )


def test_values_come_in_chunks():
    payloads = [bytes(range(256)) * 600, b"", b"end"]
    parts = [Part("raw", 0.0, 0.0, len(each)) for each in payloads]
    incoming = Incoming(Head(0, 0, 0, 0.0, tuple(parts)), [200_000, 0, 3])
    sent = list(chunks(9, payloads))
    assert max(map(len, sent)) <= MOST_BODY + 16
    done = [incoming.add(Reader().feed(each)[0].body) for each in sent]
    assert done == [False] * (len(sent) - 1) + [True]
    assert incoming.payloads() == payloads


def test_values_that_the_cut_has_not_are_refused_before_they_come():
    big = Head(0, 0, 0, 0.0, (Part("raw", 0, 0, 2**32 - 1),))
    with pytest.raises(DataError, match="at most 100"):
        Incoming(big, [100])
    with pytest.raises(DataError, match="the cut has 2"):
        Incoming(big, [2**32, 1])
    small = Incoming(Head(0, 0, 0, 0.0, (Part("raw", 0, 0, 4),)), [4])
    with pytest.raises(DataError, match="chunk"):
        small.add(b"12345")
    with pytest.raises(DataError, match="chunk"):
        small.add(b"")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "letters TT"),
        (b"TT\x02" + bytes(13), "version 2"),
        (b"TT\x01\xff" + bytes(12), "kind 255"),
        (b"TT\x01\x05" + bytes(8) + b"\xff\xff\xff\xff", "at most 65536"),
    ],
)
def test_what_is_no_frame_is_refused(data, said):
    with pytest.raises(DataError, match=said):
        Reader().feed(data)


@pytest.mark.parametrize(
    "body", [b"", b"x", b"[1]", b'{"a":', b"\xff" * 9, b"[" * 5000, b"NaN"]
)
def test_what_is_no_record_is_refused(body):
    with pytest.raises(DataError, match="record"):
        parse_record(body)


def test_records_come_back():
    (found,) = Reader().feed(record(Kind.HELLO, {"a": [1, None]}))
    assert parse_record(found.body) == {"a": [1, None]}


def test_a_hundred_thousand_damaged_streams_end_in_one_way():
    """Whatever comes, frames are read or one error is raised; nothing is held."""
    drawn = random.Random(0)
    good = b"".join(
        [
            record(Kind.HELLO, {"graph": "abc"}),
            head(Kind.REQUEST, 1, cut=3, codec=1, milliseconds=50, seconds=0.0,
                 parts=[Part("int8", 0.0, 0.1, 40)]),
            *chunks(1, [bytes(40)]),
            frame(Kind.CANCEL, 1),
        ]
    )  # fmt: skip
    refused = read = 0
    for _ in range(100_000):
        data = bytearray(good)
        for _ in range(drawn.randrange(1, 4)):
            way = drawn.randrange(3)
            place = drawn.randrange(len(data))
            if way == 0:
                data[place] = drawn.randrange(256)
            elif way == 1:
                del data[place : place + drawn.randrange(1, 20)]
            else:
                data[place:place] = drawn.randbytes(drawn.randrange(1, 20))
            if not data:
                data = bytearray(b"T")
        reader = Reader()
        try:
            for each in reader.feed(bytes(data)):
                if each.kind is Kind.REQUEST:
                    Incoming(parse_head(each.body), [40])
                elif each.kind is Kind.HELLO:
                    parse_record(each.body)
            read += 1
        except DataError:
            refused += 1
        assert reader.held <= len(data)
    assert refused > 30_000
    assert read > 1_000
