import msgspec
import pytest

from schemas.decode import decode_messages
from schemas.event import REASONS
from streaming.rehearse.incident_replay import poison_messages, template_event
from tests.harness.toy import toy_grid, toy_messages, toy_spec

AS_OF_S = 1_767_225_600
SPEC = toy_spec(
    grid=toy_grid(40, 30, south_deg=41.6, west_deg=-87.9),
    region="town",
    timezone="America/Chicago",
    categories=("theft", "fire"),
)
TEMPLATE = template_event(SPEC, as_of_s=AS_OF_S)
POISONS = poison_messages(TEMPLATE)


@pytest.mark.parametrize(
    ("south_deg", "west_deg"),
    [(41.6, -87.9), (37.6, -122.6), (29.6, -95.6), (35.5, 139.5), (-34.0, 151.0), (51.4, -0.3)],
)
def test_every_kind_is_refused_with_its_reason_wherever_the_region_lies_and_its_neighbours_are_not(south_deg, west_deg):
    spec = msgspec.structs.replace(SPEC, grid=toy_grid(40, 30, south_deg=south_deg, west_deg=west_deg))
    template = template_event(spec, as_of_s=AS_OF_S)
    poisons, good = poison_messages(template), msgspec.json.encode(template)
    values = [value for poison in poisons for value in (good, poison.value)]
    decoded = decode_messages(toy_messages(values, AS_OF_S * 1000), {"town": spec})
    refused = {refusal.kafka_offset: refusal.reason for part in decoded.rejections.values() for refusal in part}
    assert refused == {2 * number + 1: poison.reason for number, poison in enumerate(poisons)}
    assert decoded.incidents["town"].kafka_offset.tolist() == list(range(0, len(values), 2))


def test_the_list_is_long_names_each_kind_once_and_covers_every_reason():
    assert len(POISONS) >= 45
    assert len({poison.name for poison in POISONS}) == len(POISONS)
    assert {poison.reason for poison in POISONS} == set(REASONS)
