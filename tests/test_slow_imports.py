"""Large libraries are imported in part, and all of them is there for who asks for it."""

import subprocess
import sys

import pytest

from rszsl.slow_imports import in_part

IN_PART = """
import sys
import rszsl.tiling
import torchgeo, torchvision
for name in ("torch._dynamo", "torchvision.ops", "torchvision.models", "torchgeo.datasets.eurosat"):
    assert name not in sys.modules, name
"""


def in_new_process(code, before=IN_PART):
    run = subprocess.run([sys.executable, "-c", before + code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def test_every_data_set_is_there_for_who_asks():
    said = in_new_process("""
import torchgeo.datasets
from torchgeo.datasets import EuroSAT, RasterDataset, stack_samples
from torchgeo.datasets.geo import RasterDataset as same
assert RasterDataset is same and issubclass(rszsl.tiling.SceneDataset, same)
assert torchgeo.datasets.geo.RasterDataset is same
assert {"EuroSAT", "RasterDataset"} <= set(torchgeo.datasets.__all__) <= set(dir(torchgeo.datasets))
print(EuroSAT.__module__, torchvision.datasets.MNIST.__module__)
try:
    torchgeo.datasets.NoSuchData
except AttributeError as err:
    print(err)
""")
    assert said == [
        "torchgeo.datasets.eurosat torchvision.datasets.mnist",
        "module 'torchgeo.datasets' has no attribute 'NoSuchData'",
    ]


@pytest.mark.parametrize("how", ["from torchvision.ops import roi_align", "roi_align = torchvision.ops.roi_align"])
def test_operators_have_their_gradients_and_the_compiler(how):
    # `import torchvision.ops` must run what registers them, which stands in torchvision's own __init__.
    said = in_new_process(f"""
import torch
{how}
pixels = torch.arange(64.0).view(1, 1, 8, 8).requires_grad_()
roi_align(pixels, torch.tensor([[0, 0, 0, 4.0, 4]]), 2).sum().backward()
print(pixels.grad.sum().item(), torch.compile(lambda x: x * 2, backend="eager")(torch.ones(2)).tolist())
print(type(torchvision).__name__, torchvision.models.resnet18.__name__, torchvision.get_image_backend())
""")
    assert said == ["4.0 [2.0, 2.0]", "module resnet18 PIL"]


def test_threads_that_ask_at_once_all_get_it():
    said = in_new_process("""
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as pool:
    found = set(pool.map(lambda name: getattr(torchvision, name), ["models"] * 8))
print(*(module.__name__ for module in found))
""")
    assert said == ["torchvision.models"]


@pytest.mark.parametrize("first", ["torchgeo.datasets", "torchvision"])
def test_what_was_imported_before_stays(first):
    in_new_process(f"""
import sys, {first}
it, names = sys.modules["{first}"], dir(sys.modules["{first}"])
import rszsl.tiling
assert sys.modules["{first}"] is it and dir(it) == names
""", before="")  # fmt: skip


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Makes a package of one module, `part`, that holds an answer."""

    def make(name, init):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(init)
        (tmp_path / name / "part.py").write_text("answer = 42")
        monkeypatch.syspath_prepend(tmp_path)
        return {name: ("part",)}

    return make


def test_a_package_that_is_asked_for_all_meanwhile_is_a_common_one(package):
    with in_part(package("asked_at_once", "from asked_at_once import part\nmore = part.answer + 1")):
        from asked_at_once import more, part
    assert more == 43 and type(sys.modules["asked_at_once"]) is type(sys)
    assert part is sys.modules["asked_at_once.part"]


def test_a_package_whose_init_fails_says_so_each_time(package):
    with in_part(package("fails_at_once", "raise ImportError('it needs more')")):
        from fails_at_once import answer
    assert answer == 42
    import fails_at_once

    for _ in range(2):
        with pytest.raises(ImportError, match="it needs more"):
            _ = fails_at_once.more


def test_a_package_that_is_not_there_is_told():
    with pytest.raises(ModuleNotFoundError, match="no_such_package"), in_part({"no_such_package": ()}):
        pass
