import pickle

import pytest

import rszsl
from rszsl import errors

KINDS = [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, errors.RszslError)]


@pytest.mark.parametrize("kind", KINDS)
def test_errors_survive_pickling(kind):
    again = pickle.loads(pickle.dumps(kind("scene.tif has no CRS; give it with --crs EPSG:…")))
    assert type(again) is kind and str(again) == "scene.tif has no CRS; give it with --crs EPSG:…"
    assert issubclass(kind, errors.RszslError)


def test_every_public_name_is_there():
    assert set(rszsl.__all__) <= set(dir(rszsl))
    for name in rszsl.__all__:
        assert getattr(rszsl, name) is not None
    assert {k.__name__ for k in KINDS} <= set(rszsl.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = rszsl.nonsense
