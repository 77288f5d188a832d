"""For `dask worker --preload-nanny`: workers are forked from a process that has imported torch, to start at once."""

from distributed.utils import get_mp_context


def dask_setup(nanny):
    get_mp_context().set_forkserver_preload(["distributed", "rszsl.batch.dask_pool", "fakes"])
