"""Large libraries are imported in part, and all of them is there for who asks for it."""

import subprocess
import sys

import pytest

COMPILER_STAYS_AWAY = """
import sys
import rszsl.tiling
assert "torch._dynamo" not in sys.modules and "torch._dynamo.utils" not in sys.modules
assert "torchgeo.datasets.eurosat" not in sys.modules
"""


def in_new_process(code):
    run = subprocess.run([sys.executable, "-c", COMPILER_STAYS_AWAY + code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_every_data_set_is_there_for_who_asks():
    said = in_new_process("""
import torchgeo.datasets
from torchgeo.datasets import EuroSAT, RasterDataset, stack_samples
from torchgeo.datasets.geo import RasterDataset as same
assert RasterDataset is same and issubclass(rszsl.tiling.SceneDataset, same)
assert {"EuroSAT", "RasterDataset"} <= set(torchgeo.datasets.__all__) <= set(dir(torchgeo.datasets))
print(EuroSAT.__module__)
try:
    torchgeo.datasets.NoSuchData
except AttributeError as err:
    print(err)
""")
    assert said.splitlines() == [
        "torchgeo.datasets.eurosat",
        "module 'torchgeo.datasets' has no attribute 'NoSuchData'",
    ]


def test_the_compiler_is_there_for_who_calls_it():
    said = in_new_process("""
import torch
from torchvision.ops import roi_align
torch.use_deterministic_algorithms(True)  # torchvision compiles it then, where the device can
found = roi_align(torch.arange(64.0).view(1, 1, 8, 8).requires_grad_(), torch.tensor([[0, 0, 0, 4.0, 4]]), 2)
print(found.shape, torch.compile(lambda x: x * 2, backend="eager")(torch.ones(2)).tolist())
from torch._dynamo.utils import is_compile_supported
print(is_compile_supported("meta"), "torch._dynamo" in sys.modules)
""")
    assert said.splitlines() == ["torch.Size([1, 1, 2, 2]) [2.0, 2.0]", "False True"]


def test_what_torchvision_got_calls_the_compiler_itself():
    assert in_new_process("""
from torchvision.ops.roi_align import is_compile_supported as got
print(got("meta"), got("cpu"), "torch._dynamo" in sys.modules)
from torch._dynamo.utils import is_compile_supported
print(is_compile_supported("cpu"), is_compile_supported is not got)
""").split() == ["False", "True", "True", "True", "True"]


@pytest.mark.parametrize("first", ["torchgeo.datasets", "torch._dynamo.utils"])
def test_what_was_imported_before_stays(first):
    run = subprocess.run(
        [sys.executable, "-c", f"import sys, {first}\nit = sys.modules['{first}']\nimport rszsl.tiling\n"
         f"assert sys.modules['{first}'] is it and '__getattr__' not in vars(it)"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
