"""A frame on disk is the frame that was published, whole; its digest tells any two apart; anything else is refused."""

import hashlib
import zlib
from dataclasses import fields, replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import SinkError
from schemas.frame import (
    Silence,
    Surge,
    Unusual,
    frame_path,
    hour_path,
    keep_hour,
    read_frames,
    read_hour,
    write_frames,
)
from schemas.spec import HOUR_S
from tests.harness.toy import toy_grid, toy_spec, toy_views

SPEC = toy_spec()
VIEWS = toy_views(SPEC)
FRAME = VIEWS[0]
ARRAYS = [field.name for field in fields(FRAME) if isinstance(getattr(FRAME, field.name), np.ndarray)]


def test_equal_frames_have_equal_digests_and_one_changed_number_of_any_array_another():
    assert toy_views(SPEC)[0].digest() == FRAME.digest()
    changes = [{"as_of_s": FRAME.as_of_s + 1}, {"model": "another"}]
    for name in ARRAYS:
        changed = getattr(FRAME, name).copy()
        changed.flat[-1] += 1
        changes.append({name: changed})
    for change in changes:
        assert replace(FRAME, **change).digest() != FRAME.digest(), change.keys()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    write_frames(folder, VIEWS, "wall")
    return frame_path(folder, SPEC.region)


@pytest.fixture(scope="module")
def copy(path):
    """A file of the same name to do harm to."""
    path.with_name("harmed").mkdir()
    return path.with_name("harmed") / path.name


def sealed(body):
    return hashlib.blake2b(body, digest_size=16).hexdigest().encode() + body


def test_both_views_come_back_to_the_last_bit(path):
    found = read_frames(path)
    assert found.digest == VIEWS[0].digest()
    assert found.clock == "wall"
    for read, written in zip((found.by_category, found.over_all), VIEWS, strict=True):
        assert (read.spec, read.as_of_s, read.model) == (written.spec, written.as_of_s, written.model)
        assert read.categories == written.categories
        for name in ARRAYS:
            assert getattr(read, name).dtype == getattr(written, name).dtype
            np.testing.assert_array_equal(getattr(read, name), getattr(written, name))


PLACE = Unusual(category="ems", row=1, col=0, rows=2, cols=3, hours=4, observed=9, usual=1.5, days=20.0)
SILENT = Silence(category="fire", since_s=1_700_000_000, observed=0, usual=9.5, days=40.0)
SURGE = Surge(category="fire", factors=(2.0, 1.5, 1.0), spreads=(0.3, 0.2, 0.0), observed=36, usual=4.2)
OF_PLACES = [{"row": 2}, {"cols": 4}, {"rows": 0}, {"category": "flood"}, {"days": np.inf}, {"observed": -1}]
OF_FEEDS = [{"category": "flood"}, {"usual": -1.0}, {"since_s": 10**12}]
FACTORS = [(2.0, 0.9, 1.0), (1.0, 1.0, 1.0), (1e300, 1.0, 1.0), (np.nan, 1.0, 1.0), (2.0, 1.5)]
OF_SURGES = [{"category": "theft"}, {"observed": -1}, {"usual": np.inf}, *({"factors": of} for of in FACTORS)]
OF_SURGES += [{"spreads": of} for of in ((0.3, 0.2), (-0.3, 0.2, 0.0))]


@pytest.mark.parametrize(
    ("field", "sound", "wrong", "said"),
    [
        *(("unusual", PLACE, wrong, "what is unusual") for wrong in (*OF_PLACES, {"above": (0,)})),
        *(("silent", SILENT, wrong, "a feed that is silent cannot be of the region") for wrong in OF_FEEDS),
        *(("surges", SURGE, wrong, "a surge cannot be of the region") for wrong in OF_SURGES),
    ],
)
def test_what_a_frame_says_in_words_comes_back_and_is_refused_where_it_cannot_be(tmp_path, field, sound, wrong, said):
    def read_again(*told):
        write_frames(tmp_path, (replace(FRAME, **{field: told}), VIEWS[1]), "wall")
        return read_frames(frame_path(tmp_path, SPEC.region))

    frames = read_again(sound)
    assert getattr(frames.by_category, field) == getattr(frames.over_all, field) == (sound,)
    with pytest.raises(SinkError, match=said):
        read_again(msgspec.structs.replace(sound, **wrong))
    if field == "surges":
        with pytest.raises(SinkError, match="surges twice"):
            read_again(sound, sound)


@given(st.data())
def test_a_byte_that_changed_and_a_file_that_was_cut_are_refused(path, copy, data):
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[place] ^= data.draw(st.integers(1, 255))
    else:
        del content[place:]
    copy.write_bytes(content)
    with pytest.raises(SinkError, match="damaged"):
        read_frames(copy)


def body_of(path):
    return msgspec.msgpack.decode(path.read_bytes()[32:])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "has format 2, and this version reads 7: let the job"),
        ({"as_of_s": 0}, "time 0"),
        ({"as_of_s": 10**12}, "no time"),
        ({"clock": "sundial"}, "clock"),
        ({"model": "a\nb"}, "model"),
        ({"model": "m" * 201}, "model"),
        ({"change": "a\nb"}, "its change has no words"),
        ({"change": "m" * 201}, "its change has no words"),
        ({"change_since_s": -1}, "the time -1 of its change"),
        ({"change_since_s": 10**12}, "the time 1000000000000 of its change"),
        ({"more": 1}, "more"),
        ({"by_category": {}}, "arrays"),
        ({"risk": np.full(VIEWS[0].risk.size, 1.5, "<f4").tobytes()}, "risk has a number outside"),
        ({"expected": np.full(VIEWS[0].expected.size, np.nan, "<f4").tobytes()}, "expected has a number outside"),
        ({"usual": np.full(VIEWS[0].usual.size, -1, "<f4").tobytes()}, "usual has a number outside"),
        ({"support": bytes([3] * VIEWS[0].support.size)}, "support has a number outside"),
        ({"low": bytes(8)}, "low has 2 numbers"),
        ({"high": b"abc"}, "is no frame"),
        ({"attribution": b""}, "attribution has 0 numbers"),
    ],
)
def test_a_sealed_file_with_a_content_that_cannot_be_is_refused(path, copy, change, said):
    body = body_of(path)
    for name, value in change.items():
        (body["by_category"] if name in body["by_category"] else body)[name] = value
    copy.write_bytes(sealed(msgspec.msgpack.encode(body)))
    with pytest.raises(SinkError, match=said):
        read_frames(copy)


def test_a_file_of_another_region_and_one_that_claims_a_huge_grid_are_refused(path, copy):
    other = path.with_name("elsewhere.frame")
    other.write_bytes(path.read_bytes())
    with pytest.raises(SinkError, match="of region toyville") as refused:
        read_frames(other)
    assert refused.value.remedy.startswith("delete it")  # to wait for the next frame would be in vain
    body = body_of(path)
    body["spec"]["grid"] |= {"rows": 999, "cols": 999}
    copy.write_bytes(sealed(msgspec.msgpack.encode(body)))
    with pytest.raises(SinkError, match="too large"):  # before memory is taken
        read_frames(copy)


@pytest.mark.parametrize("content", [None, "a folder", b"", b"x" * 31, b"\xff" * 200])
def test_a_missing_file_and_what_is_no_frame_at_all_are_errors_with_a_remedy(tmp_path, content):
    path = tmp_path / "toyville.frame"
    if content == "a folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(SinkError) as caught:
        read_frames(path)
    assert caught.value.remedy


def keep(folder, at_s, spec=SPEC, seed=7):
    """Write a frame and keep its hour. Gives its digest and the path of the hour."""
    views = toy_views(spec, as_of_s=at_s, seed=seed)
    write_frames(folder, views, "wall")
    keep_hour(folder, spec.region, at_s)
    return views[0].digest(), hour_path(folder, spec.region, at_s)


def test_an_hour_keeps_its_first_frame_and_the_last_day_its_hours(tmp_path):
    first, path = keep(tmp_path, 1_764_000_060)
    keep(tmp_path, 1_764_000_120, seed=8)
    assert read_hour(path).digest == first  # also after a restart: what is there is not written again
    digests = [keep(tmp_path, 1_764_000_060 + HOUR_S * hour)[0] for hour in range(1, 30)]
    kept = sorted(path.parent.iterdir())
    assert [read_hour(each).digest for each in kept] == digests[-25:]
    keep(tmp_path, 1_764_000_060 + 1000 * HOUR_S)  # a clock that is wrong once takes one hour
    digests.append(keep(tmp_path, 1_764_000_060 + HOUR_S * 30)[0])
    assert [read_hour(each).digest for each in sorted(path.parent.iterdir())] == digests[-25:]


def test_two_regions_in_a_folder_keep_hours_of_their_own_of_at_most_600_kilobytes(tmp_path):
    large = toy_spec(region="large", grid=toy_grid(48, 48), categories=tuple(f"category_{n}" for n in range(4)))
    sizes = {keep(tmp_path, 1_764_000_060, spec)[1].stat().st_size for spec in (SPEC, large)}
    assert 400_000 < max(sizes) < 600_000  # of numbers that were drawn: those of a town are packed smaller
    assert len([*tmp_path.glob("hours/*/*.frame")]) == 2


def test_an_hours_file_that_is_damaged_of_another_region_or_hour_or_unpacks_to_much_is_refused(tmp_path):
    _, path = keep(tmp_path, 1_764_000_060)
    content = path.read_bytes()
    elsewhere = hour_path(tmp_path, "elsewhere", 1_764_000_060)
    elsewhere.parent.mkdir()
    bomb = zlib.compress(bytes(65 * 2**20))
    for place, found, said in (
        (path, content[:-1], "is damaged"),
        (path, sealed(b"no zlib"), "is no frame"),
        (path, sealed(bomb), "is no frame"),
        (elsewhere, content, "is of region toyville"),
        (hour_path(tmp_path, SPEC.region, 1_764_003_660), content, "is of another hour"),
        (path.with_name("yesterday.frame"), content, "is of another hour"),
    ):
        place.write_bytes(found)
        with pytest.raises(SinkError, match=said):
            read_hour(place)
