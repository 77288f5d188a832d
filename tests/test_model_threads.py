"""On a CPU several threads show the model tiles: the same map, the same errors, and nothing left behind."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from fakes import ColourModel, painted

import rszsl
from rszsl.model.threads import MOST_THREADS, model_threads, step_of
from rszsl.options import MapOptions
from rszsl.pipeline import encode_tiles, plan_scene
from rszsl.pipeline.fitting import FittingEncoder
from rszsl.progress import Silent

COLOURS = "red,green,blue,yellow"
SCENE = ["rgb.rgbrg", "bgr.bgrrr", "rrr.ggbb0"] * 4


@pytest.fixture
def threads():
    """Sets torch's number of threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


class Watched(ColourModel):
    """Takes its time, and tells who showed it what."""

    def __init__(self, input_px=16, slow_s=0.0):
        super().__init__(input_px)
        self.seen, self.slow_s, self._lock = [], slow_s, threading.Lock()

    def encode(self, tiles):
        with self._lock:
            self.seen.append((len(tiles), threading.current_thread().name, torch.get_num_threads()))
        time.sleep(random.random() * self.slow_s)
        return super().encode(tiles)


class Moody(Watched):
    """Fails at a blue tile."""

    def encode(self, tiles):
        if (tiles[:, 2].mean(axis=(1, 2)) > 200).any():
            raise ValueError("I do not like blue")
        return super().encode(tiles)


class Cramped(Watched):
    """Fits two tiles."""

    def encode(self, tiles):
        if len(tiles) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return super().encode(tiles)


def ours():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("rszsl-")]


def tiles_of(scene, model, **options):
    """What the model says of each tile, in the order in which it comes."""
    chosen = MapOptions(**options)
    batches = list(encode_tiles(plan_scene(str(scene), model.card, chosen), model, chosen))
    return np.concatenate([b.tile_ids for b in batches]), np.concatenate([b.attributes for b in batches])


@pytest.mark.parametrize("batch_size", [1, 5, 8])
def test_tiles_come_in_their_order_from_any_number_of_threads(make_raster, threads, batch_size):
    scene, found = make_raster(painted(SCENE)), []
    for count in (1, 3):
        threads(count)
        model = Watched(slow_s=0.01)
        found.append(tiles_of(scene, model, batch_size=batch_size))
        assert len({name for _, name, _ in model.seen}) == count
    (ids, one), (same_ids, several) = found
    np.testing.assert_array_equal(ids, np.arange(len(SCENE) * len(SCENE[0])))
    np.testing.assert_array_equal(same_ids, ids)
    np.testing.assert_array_equal(several, one)


def test_a_real_model_says_the_same_in_one_thread_and_in_two(make_raster, noise, model, threads, tmp_path):
    scene, maps = make_raster(noise(3, 1500, 1500)), []
    for count in (1, 2):
        threads(count)
        result = rszsl.map_scene(scene, "forest,river,farmland", model=model, output=tmp_path / f"{count}.gpkg")
        maps.append(result.tiles.sort_values("tile_id"))
    one, two = maps
    assert len(one) > step_of(model.card.input_px) and one["class"].tolist() == two["class"].tolist()
    np.testing.assert_allclose(two["confidence"], one["confidence"], atol=1e-4)


def test_the_users_number_of_threads_stays(make_raster, threads, tmp_path):
    threads(3)
    model = Watched(slow_s=0.01)
    rszsl.map_scene(make_raster(painted(SCENE)), COLOURS, model=model, output=tmp_path / "o.gpkg", batch_size=4)
    assert {count for _, _, count in model.seen} == {1}
    with ThreadPoolExecutor(1) as new:
        assert (torch.get_num_threads(), new.submit(torch.get_num_threads).result()) == (3, 3)


def test_many_cores_are_shared_among_few_threads(threads):
    threads(2 * MOST_THREADS + 1)
    with model_threads("cpu") as made:
        seen = set(made.pool.map(lambda _: torch.get_num_threads(), range(50)))
    assert (made.count, seen) == (MOST_THREADS, {2})


def test_a_threads_step_follows_the_tiles_size_and_only_on_a_cpu(make_raster, threads):
    threads(2)
    assert [step_of(side) for side in (160, 224, 336, 1000)] == [8, 4, 1, 1]
    assert step_of(160, packed=True) == 16
    tiles = np.zeros((22, 3, 160, 160), "uint8")
    with model_threads("cpu") as two, model_threads("cuda:0") as none:
        here, there = Watched(160), Watched(160)
        FittingEncoder(there, print, threads=two).encode(tiles)
        FittingEncoder(here, print, threads=none).encode(tiles)
    assert none is None and here.seen == [(22, threading.current_thread().name, 2)]
    assert sorted(count for count, _, _ in there.seen) == [6, 8, 8]


def test_an_error_in_a_thread_comes_out_once_and_leaves_nothing(make_raster, threads, tmp_path):
    threads(2)
    with pytest.raises(ValueError, match="I do not like blue"):
        rszsl.map_scene(
            make_raster(painted(["rrr", "rgb", "bbb"])),
            COLOURS,
            model=Moody(),
            output=tmp_path / "o.gpkg",
            batch_size=1,
        )
    assert not ours() and torch.get_num_threads() == 2 and not list(tmp_path.glob("o.gpkg*"))


def test_an_interrupted_map_stops_its_threads(make_raster, threads, tmp_path):
    class Interrupted(Silent):
        def advance(self, tiles):
            raise KeyboardInterrupt

    threads(2)
    scene, model = make_raster(painted(SCENE)), Watched(slow_s=0.05)
    with pytest.raises(KeyboardInterrupt):
        rszsl.map_scene(scene, COLOURS, model=model, output=tmp_path / "o.gpkg", batch_size=1, progress=Interrupted())
    assert not ours() and torch.get_num_threads() == 2
    assert sum(count for count, _, _ in model.seen) < len(SCENE) * len(SCENE[0])


def test_who_takes_no_more_tiles_stops_the_threads(make_raster, threads):
    threads(2)
    model, options = Watched(slow_s=0.02), MapOptions(batch_size=2)
    tiles = encode_tiles(plan_scene(str(make_raster(painted(SCENE))), model.card, options), model, options)
    assert next(tiles).tile_ids.tolist() == [0, 1] and ours()
    tiles.close()
    assert not ours()


def test_batches_that_do_not_fit_are_halved_with_one_warning(make_raster, threads, tmp_path):
    class Ear(Silent):
        heard = ()

        def warn(self, message):
            self.heard += (message,)

    threads(3)
    scene, model, ear = make_raster(painted(SCENE)), Cramped(slow_s=0.01), Ear()
    small = rszsl.map_scene(scene, COLOURS, model=model, output=tmp_path / "a.gpkg", batch_size=8, progress=ear)
    roomy = rszsl.map_scene(scene, COLOURS, model=ColourModel(), output=tmp_path / "b.gpkg")
    assert small.tiles.drop(columns="geometry").equals(roomy.tiles.drop(columns="geometry"))
    assert ear.heard == ("a batch of 8 did not fit the memory of cpu; going on with 2",)


def test_a_model_that_fits_not_even_one_tile_ends_the_map(make_raster, threads, tmp_path):
    class Full(Watched):
        def encode(self, tiles):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    threads(2)
    with pytest.raises(rszsl.ModelError, match="even --batch-size 1 does not fit the memory of cpu"):
        rszsl.map_scene(make_raster(painted(SCENE)), COLOURS, model=Full(), output=tmp_path / "o.gpkg")
    assert not ours()
