from benchmarks.synthetic import synthetic_events
from schemas.decode import decode_messages
from tests.harness.toy import toy_grid, toy_messages, toy_spec

AS_OF_S = 1_767_225_600
SPECS = [
    toy_spec(
        grid=toy_grid(48, 48, south_deg=41.6, west_deg=-87.9),
        region=f"town-{number}",
        categories=("ems", "fire", "traffic"),
    )
    for number in range(4)
]


def test_every_event_is_accepted_and_the_regions_share_them_evenly():
    pairs = list(synthetic_events(SPECS, 2000, seed=3, as_of_s=AS_OF_S))
    values = [value for _, value in pairs]
    n = len(values)
    decoded = decode_messages(toy_messages(values, AS_OF_S * 1000), {spec.region: spec for spec in SPECS})
    assert not decoded.rejections
    assert {region: len(part) for region, part in decoded.incidents.items()} == {spec.region: 500 for spec in SPECS}
    assert len({key for key, _ in pairs}) == n
    assert 250 <= sum(map(len, values)) / n <= 310
    assert all(b'"%s"' % key in value for key, value in pairs)


def test_the_seed_decides_and_ids_of_two_seeds_do_not_meet():
    first, same, other = (list(synthetic_events(SPECS, 50, seed=seed, as_of_s=AS_OF_S)) for seed in (1, 1, 2))
    assert first == same
    assert not {key for key, _ in first} & {key for key, _ in other}
